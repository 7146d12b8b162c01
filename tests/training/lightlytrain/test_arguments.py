import dataclasses
import importlib.util
import inspect
import re
from typing import get_args

import pytest
import pytorch_lightning
import torch
from torch.utils.data import DataLoader

from sharding.errors import UsageError
from sharding.options import options_of
from training.config import PretrainConfig
from training.lightly_options import MatmulPrecision, Method, Optimizer, PretrainPrecision
from training.lightlytrain import names
from training.lightlytrain.arguments import DECIDED, OPTIONS, check_arguments, merge
from training.pretraining.call import make_arguments, make_transform_args
from training.pretraining.check import check_split, find_start


def config(**options):
    return PretrainConfig(sets=("set",), out="run", **options)


def test_every_argument_of_lightly_train_is_an_option_or_is_decided():
    # If this fails, LightlyTrain has a new argument, or has lost one: give it an option, or say what decides it.
    import lightly_train

    theirs = set(inspect.signature(lightly_train.pretrain).parameters)
    assert set(OPTIONS) | set(DECIDED) == theirs
    assert set(OPTIONS).isdisjoint(DECIDED)
    assert set(OPTIONS) <= {one.name for one in options_of(PretrainConfig)}


def test_every_option_of_theirs_reaches_the_call(tmp_path):
    from training.pretraining.lightly import stream_arguments

    streamed = set(inspect.signature(stream_arguments).parameters)
    made = make_arguments(config(), tmp_path, interrupted=False)
    # What decides the devices goes to the stream, which returns it.
    assert set(made) | {"data", "strategy", "devices", "num_nodes", "accelerator"} == (
        {*OPTIONS, *DECIDED} - {"resume"}
    )
    assert {"devices", "accelerator"} <= streamed


@pytest.fixture(scope="module")
def lightly():
    """LightlyTrain's own tables, by the private names that `training` must not use."""
    from lightly_train._activation_checkpointing import ActivationCheckpointingArgs
    from lightly_train._callbacks.callback_args import CallbackArgs
    from lightly_train._loggers.logger_args import LoggerArgs
    from lightly_train._methods import method_helpers
    from lightly_train._optim.optimizer_type import OptimizerType

    methods = {name: method_helpers.get_method_cls(name) for name in method_helpers._list_methods()}
    return methods, OptimizerType, CallbackArgs, LoggerArgs, ActivationCheckpointingArgs


def fields(model):
    return set(model.model_fields)


def test_the_names_in_mappings_are_those_of_the_installed_releases(lightly):
    methods, optimizers, callbacks, loggers, checkpointing = lightly
    assert set(get_args(Method)) == set(methods)
    assert {*get_args(Optimizer)} == {"auto", *(one.value for one in optimizers)}
    for name, method in methods.items():
        assert set(names.METHOD_ARGS[name]) == fields(method.method_args_cls()), name
        assert set(names.TRANSFORM_ARGS[name]) == fields(method.transform_cls().transform_args_cls()), name
        for optimizer in ("auto", *optimizers):
            word = optimizer if optimizer == "auto" else optimizer.value
            assert fields(method.optimizer_args_cls(optimizer)) <= set(names.OPTIM_ARGS[word]), (name, word)
    assert set(names.CALLBACKS) == fields(callbacks)
    assert set(names.LOGGERS) == fields(loggers)
    assert set(names.ACTIVATION_CHECKPOINT_ARGS) == fields(checkpointing)
    assert set(names.LOADER_ARGS) == set(inspect.signature(DataLoader).parameters)
    assert set(names.TRAINER_ARGS) == set(inspect.signature(pytorch_lightning.Trainer).parameters)


def test_local_views_have_the_sides_of_lightly_train(lightly):
    defaults = {}
    for name, method in lightly[0].items():
        local = method.transform_cls().transform_args_cls().model_fields.get("local_view")
        if local is not None:
            defaults[name] = local.get_default(call_default_factory=True).view_size[0]
    assert defaults == names.LOCAL_PX


def test_precisions_are_all_that_lightly_train_takes():
    import lightly_train

    words = re.findall(
        r"'([\w-]+)'", str(inspect.signature(lightly_train.pretrain, eval_str=True).parameters["precision"])
    )
    assert set(get_args(PretrainPrecision)) == set(words)
    matmul = inspect.signature(lightly_train.pretrain, eval_str=True).parameters["float32_matmul_precision"].annotation
    assert get_args(MatmulPrecision) == get_args(matmul)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"method_args": {"warmup_step": 1}},
            "method_args: no name warmup_step of --method dino; did you mean warmup_steps?",
        ),
        (
            {"method": "simclr", "method_args": {"tempreature": 1}},
            "no name tempreature of --method simclr; did you mean temperature?",
        ),
        ({"optim_args": {"lrr": 1}}, "optim_args: no name lrr of --optim auto; did you mean lr?"),
        (
            {"optim": "sgd", "optim_args": {"betas": 1}},
            "optim_args: no name betas of --optim sgd; there are lr, moment",
        ),
        (
            {"transform_args": {"color_jiter": None}},
            "transform_args: no name color_jiter of --method dino; did you mean",
        ),
        ({"method": "simclr", "transform_args": {"local_view": None}}, "no name local_view of --method simclr"),
        ({"transform_args": {"image_size": [64, 64]}}, "transform_args: image_size cannot be set: give --image-size"),
        ({"transform_args": {"num_channels": 4}}, "num_channels: images of sets are decoded to 3 channels, RGB"),
        ({"activation_checkpoint_args": {"enable": True}}, "no name enable; did you mean enabled?"),
        ({"callbacks": {"early_stoping": {}}}, "callbacks: no name early_stoping; did you mean early_stopping?"),
        (
            {"callbacks": {"model_checkpoint": None}},
            "callbacks: model_checkpoint cannot be set: checkpoints are those of",
        ),
        ({"loggers": {"tensorbord": None}}, "loggers: no name tensorbord; did you mean tensorboard?"),
        ({"loader_args": {"prefetch": 2}}, "loader_args: no name prefetch; did you mean prefetch_factor?"),
        (
            {"loader_args": {"shuffle": False}},
            "loader_args: shuffle cannot be set: which samples a batch has is decided",
        ),
        ({"loader_args": {"batch_size": 3}}, "loader_args: batch_size cannot be set: give --batch-size"),
        (
            {"loader_args": {"multiprocessing_context": "thread"}},
            "expected one of fork, forkserver, spawn, found 'thread'",
        ),
        ({"loader_args": {"pin_memory": "maybe"}}, "loader_args: pin_memory: expected true or false, found 'maybe'"),
        ({"loader_args": {"prefetch_factor": 0}}, "prefetch_factor: expected a number of batches, 1 or more, found 0"),
        ({"loader_args": {"timeout": -1}}, "loader_args: timeout: expected seconds, 0 or more, found -1"),
        ({"loader_args": {"prefetch_factor": 2}, "num_workers": 0}, "--num-workers 0 has no workers that make batches"),
        ({"trainer_args": {"max_step": 3}}, "trainer_args: no name max_step; did you mean max_steps?"),
        ({"trainer_args": {"max_steps": 3}}, "trainer_args: max_steps cannot be set: give --epochs"),
        ({"trainer_args": {"callbacks": []}}, "trainer_args: callbacks cannot be set: give callbacks"),
        (
            {"trainer_args": {"strategy": "ddp"}},
            "trainer_args: strategy cannot be set: give --accelerator and --devices",
        ),
        ({"precision": "bf16-true"}, "--precision bf16-true: LightlyTrain 0.18 fails"),
        (
            {"method": "distillation", "method_args": {"teacher": "a"}},
            "method_args: teacher cannot be set: give --teacher",
        ),
        ({"method": "dinov31"}, "--method dinov31 compares places of its views, which must not be rotated"),
    ],
)
def test_what_is_wrong_with_an_argument_is_told_by_name(options, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        check_arguments(config(**options))


@pytest.mark.parametrize(
    ("options", "package"),
    [
        ({"loggers": {"wandb": {}}}, "wandb"),
        ({"loggers": {"mlflow": {}}}, "mlflow"),
        ({"optim": "adamw8bit"}, "bitsandbytes"),
        ({"precision": "transformer-engine"}, "transformer_engine"),
    ],
)
def test_a_package_that_is_not_installed_is_named(options, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"needs {package}, which is not installed: pip install {package}"):
        check_arguments(config(**options))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    check_arguments(config(**options))


def test_what_can_be_set_passes():
    check_arguments(
        config(
            loader_args={"prefetch_factor": 3, "multiprocessing_context": "spawn", "pin_memory": False},
            trainer_args={"gradient_clip_val": 1.0},
            callbacks={"early_stopping": None},
            loggers={"wandb": None, "tensorboard": {}},
            transform_args={"random_flip": None},
        )
    )


def test_a_forked_worker_of_a_remote_set_is_refused():
    remote = dataclasses.replace(config(loader_args={"multiprocessing_context": "fork"}), sets=("a", "s3://bucket/set"))
    with pytest.raises(UsageError, match="a set behind a URL does not survive a fork; give forkserver"):
        check_arguments(remote)
    check_arguments(dataclasses.replace(remote, sets=("a",)))


def test_transform_args_win_over_the_augmentation_value_by_value():
    over = {"random_flip": {"horizontal_prob": 0.25}, "random_rotation": None, "solarize": {"prob": 1.0}}
    args = make_transform_args(config(augmentation="aggressive", image_size=64, transform_args=over))
    assert args["random_flip"] == {"vertical_prob": 0.5, "horizontal_prob": 0.25}
    assert args["random_rotation"] is None
    assert args["solarize"] == {"prob": 1.0}
    assert args["image_size"] == (64, 64)
    assert args["local_view"] == {"view_size": (27, 27)}
    views = make_transform_args(config(image_size=64, transform_args={"local_view": {"num_views": 2}}))["local_view"]
    assert views == {"view_size": (27, 27), "num_views": 2}


def test_merging_changes_neither_side():
    base, over = {"a": {"b": 1}, "c": 2}, {"a": {"d": 3}}
    assert merge(base, over) == {"a": {"b": 1, "d": 3}, "c": 2}
    assert merge(base, None) == base == {"a": {"b": 1}, "c": 2}
    assert over == {"a": {"d": 3}}


def test_a_batch_is_that_of_all_devices_and_all_their_micro_batches(tmp_path):
    accumulated = config(batch_size=24, gradient_accumulation_steps=3)
    made = make_arguments(accumulated, tmp_path, interrupted=False)
    # LightlyTrain counts the samples of one micro-batch over all devices.
    assert (made["batch_size"], made["gradient_accumulation_steps"]) == (8, 3)
    check_split(accumulated, 4)
    with pytest.raises(UsageError, match="--batch-size 24 is that of all 5 processes, of 3 micro-batches each: give a"):
        check_split(accumulated, 5)


def test_mappings_are_copied_before_lightly_train_takes_entries_out_of_them(tmp_path):
    given = config(loader_args={"timeout": 3}, callbacks={"early_stopping": None}, trainer_args={"profiler": "simple"})
    made = make_arguments(given, tmp_path, interrupted=True)
    for name in ("loader_args", "callbacks", "trainer_args"):
        assert made[name] is not getattr(given, name)
    assert made["callbacks"]["early_stopping"] is None
    assert made["callbacks"]["model_checkpoint"]["dirpath"] == str(tmp_path / "checkpoints")
    assert made["trainer_args"] == {"profiler": "simple", "deterministic": False}


def test_a_checkpoint_to_begin_with_is_looked_at_without_running_it(tmp_path):
    with pytest.raises(UsageError, match=r"--checkpoint .*none: expected a checkpoint at .*none, found none"):
        find_start(str(tmp_path / "none"))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"expected a checkpoint at .*checkpoints/last.ckpt, found none"):
        find_start(str(tmp_path))
    file = tmp_path / "checkpoints" / "last.ckpt"
    torch.save({"lightly_train": {"models": {"model": torch.nn.Linear(2, 2)}}}, file)
    with pytest.raises(UsageError, match="LightlyTrain's own hold whole modules: if you trust such a file"):
        find_start(str(tmp_path))
    torch.save({"state_dict": {}}, file)
    assert find_start(str(tmp_path)) == find_start(str(file)) == file


def test_dinov31_takes_views_that_are_not_rotated():
    with pytest.raises(UsageError, match="give --rotation 0"):
        check_arguments(config(method="dinov31"))
    check_arguments(config(method="dinov31", rotation=0.0))
    check_arguments(config(method="dinov31", transform_args={"random_rotation": None}))
    with pytest.raises(UsageError, match="give --rotation 0"):
        check_arguments(config(method="dinov31", rotation=0.0, transform_args={"random_rotation": {"degrees": 5}}))
