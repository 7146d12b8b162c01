import dataclasses
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sharding.errors import DataError, UsageError
from sharding.options import options_of
from training.config import PretrainConfig
from training.lightlytrain.arguments import OPTIONS
from training.pretraining.pretrain import run
from training.runfolder import load_config

pytestmark = pytest.mark.slow

FILE = Path(__file__).with_name("all-options.yaml")
SAME = ("model", "method", "embed_dim", "method_args", "image_size")  # what decides which weights there are
TINY = {"model": "dinov2/_vittest14", "image_size": 28, "batch_size": 8, "num_workers": 0, "method": "simclr"}


def config(megadepth_set, out, **options):
    small = TINY | {"accelerator": "cpu", "devices": "1", "epochs": 1}
    return PretrainConfig(sets=(megadepth_set.url,), out=str(out), **(small | options))


def resolved(run_folder):
    """The configuration that LightlyTrain writes to its log once it has resolved it."""
    log = (run_folder / "lightly" / "train.log").read_text()
    found, _ = json.JSONDecoder().raw_decode(log[log.rindex("Resolved configuration:") :].partition("\n")[2])
    return found


def contains(found, given):
    """Whether all of `given` is in `found`, level by level."""
    if isinstance(given, dict):
        return isinstance(found, dict) and all(name in found and contains(found[name], given[name]) for name in given)
    return found == given


@pytest.fixture(scope="module")
def started(megadepth_set, tmp_path_factory):
    """A finished run that another may begin with: the same model and heads."""
    out = tmp_path_factory.mktemp("started") / "run"
    given = yaml.safe_load(FILE.read_text())
    same = {name: given[name] for name in SAME}
    run(config(megadepth_set, out, **same))
    return out


def test_every_argument_away_from_its_default_is_in_what_lightly_train_resolves(megadepth_set, started, tmp_path):
    import lightly_train

    given = yaml.safe_load(FILE.read_text()) | {"checkpoint": str(started)}
    given["optim_args"]["lr"] = 2e-4  # text to yaml
    defaults = {one.name: one.default for one in options_of(PretrainConfig)}
    assert set(given) >= set(OPTIONS) - {"out"}
    assert [name for name in given if given[name] == defaults[name]] == []
    stock = inspect.signature(lightly_train.pretrain).parameters
    assert [name for name in OPTIONS if name != "out" and given[name] == stock[name].default] == []
    (tmp_path / "all.yaml").write_text(FILE.read_text() + f"checkpoint: {started}\n")
    outcome = command(tmp_path, megadepth_set.url, "--out", "run", "--config", "all.yaml")
    steps = 2 * (len(megadepth_set) // 8)
    assert contains(outcome, {"epochs": 2, "steps": steps, "precision": "bf16-mixed"})

    found = resolved(tmp_path / "run")
    assert Path(found.pop("checkpoint")).name == "last.ckpt"
    assert found.pop("out") == "run/lightly"
    assert found.pop("accelerator") == "CPUAccelerator"
    assert found.pop("batch_size") == 8 // 2  # of a micro-batch
    assert found["transform_args"]["image_size"] == [56, 56]
    assert found["transform_args"]["random_flip"] == {"horizontal_prob": 0.25, "vertical_prob": 0.0}
    for name in found.keys() & given.keys():
        assert contains(found[name], given[name]), (name, found[name], given[name])
    assert set(OPTIONS) - found.keys() == {"checkpoint", "out", "accelerator", "batch_size"}
    assert load_config(tmp_path / "run")["transform_args"] == given["transform_args"]


def command(folder, *words):
    """What `depthstream pretrain ... --json` prints, run in a folder."""
    ended = subprocess.run(
        [sys.executable, "-m", "training", "pretrain", *words, "--json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


def test_two_devices_accumulate_and_begin_with_a_checkpoint(megadepth_set, started, tmp_path):
    options = {
        name: value for name, value in yaml.safe_load(FILE.read_text()).items() if name in (*SAME, "transform_args")
    }
    options |= {"batch_size": 8, "gradient_accumulation_steps": 2, "devices": 2, "accelerator": "cpu", "epochs": 2}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(options | {"checkpoint": str(started), "num_workers": 1}))
    outcome = command(tmp_path, megadepth_set.url, "--out", "run", "--config", "two.yaml")
    assert outcome["steps"] == 2 * (len(megadepth_set) // 8)
    assert resolved(tmp_path / "run")["batch_size"] == 4
    assert not list((tmp_path / "run").rglob("start-*"))


def weights(out):
    return torch.load(Path(out) / "encoder.pt", weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_begins_with_the_weights_of_a_checkpoint(megadepth_set, started, tmp_path):
    given = yaml.safe_load(FILE.read_text())
    same = {name: given[name] for name in SAME}
    options = config(megadepth_set, tmp_path / "next", **same, epochs=0)
    run(dataclasses.replace(options, checkpoint=str(started)))
    assert equal(weights(tmp_path / "next"), weights(started))
    run(dataclasses.replace(options, out=str(tmp_path / "fresh")))
    assert not equal(weights(tmp_path / "fresh"), weights(started))
    assert not list((tmp_path / "next").rglob("start-*"))
    with pytest.raises(DataError, match="the checkpoint holds another model"):
        run(config(megadepth_set, tmp_path / "other", model="torchvision/resnet18", checkpoint=str(started)))


def test_a_run_with_mappings_is_resumed_with_the_same_ones_alone(megadepth_set, tmp_path):
    options = config(megadepth_set, tmp_path / "run", method_args={"temperature": 0.2, "hidden_dim": 16})
    first = weights(Path(run(options).data["encoder"]).parent)
    (tmp_path / "run" / "encoder.pt").unlink()
    other = dataclasses.replace(options, resume=True, method_args={"temperature": 0.3, "hidden_dim": 16})
    said = r"begun with method_args \{'temperature': 0.2, 'hidden_dim': 16\}, not \{'temperature': 0.3"
    with pytest.raises(UsageError, match=said):
        run(other)
    run(dataclasses.replace(options, resume=True, loader_args={"timeout": 0}, loggers={"tensorboard": None}))
    assert equal(weights(tmp_path / "run"), first)


def test_automatic_epochs_and_workers_are_those_of_lightly_train(megadepth_set, tmp_path):
    few = " or ".join(f"key == '{key}'" for key in megadepth_set.index["key"].iloc[:4])
    options = config(megadepth_set, tmp_path / "run", epochs="auto", num_workers="auto", batch_size=2, where=few)
    outcome = run(options)
    found = resolved(tmp_path / "run")
    assert outcome.data["epochs"] == found["epochs"] == 100
    assert outcome.data["steps"] == 100 * 2
    assert isinstance(found["num_workers"], int)
    assert load_config(tmp_path / "run")["epochs"] == "auto"


def test_early_stopping_is_counted(megadepth_set, tmp_path):
    patience = {"early_stopping": {"patience": 0, "monitor": "train_loss"}}
    frozen = {"lr": 0.0, "weight_decay": 0.0}
    outcome = run(
        config(
            megadepth_set,
            tmp_path / "run",
            epochs=9,
            callbacks=patience,
            optim="sgd",
            optim_args=frozen,
            transform_args={"color_jitter": None},
        )
    )
    steps = outcome.data["steps"]
    assert steps < 9 * (len(megadepth_set) // 8)
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == steps


@pytest.mark.parametrize("precision", ["64-true", "bf16", "32"])
def test_an_encoder_is_float32_whatever_it_was_trained_in(megadepth_set, tmp_path, precision):
    run(config(megadepth_set, tmp_path / "run", precision=precision))
    assert resolved(tmp_path / "run")["precision"] == precision
    assert {value.dtype for value in weights(tmp_path / "run").values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method_args": {"temperature": "warm"}}, "Invalid type for key 'temperature'"),
        ({"transform_args": {"color_jitter": {"probe": 1}}}, "Unknown key: 'color_jitter.probe'"),
        ({"model_args": {"drop_pathrate": 1}}, "unexpected keyword argument 'drop_pathrate'"),
        ({"optim": "sgd", "optim_args": {"lr": -1.0}}, "Invalid learning rate"),
        ({"model": "torchvision/resnet18", "model_args": {"num_classes": -1}}, "negative dimension -1"),
        ({"callbacks": {"early_stopping": {"monitor": "nope"}}}, "conditioned on metric `nope`"),
        ({"loggers": {"jsonl": None, "tensorboard": None}}, "Cannot use `LearningRateMonitor` callback"),
        (
            {"model": "torchvision/resnet18", "activation_checkpoint_args": {"enabled": True}},
            "Activation checkpointing is not supported by model",
        ),
    ],
)
def test_what_lightly_train_alone_can_refuse_is_a_line_and_leaves_no_run(megadepth_set, tmp_path, options, said):
    wrong = config(megadepth_set, tmp_path / "run", **options)
    with pytest.raises(UsageError, match=f"LightlyTrain refuses the options: .*{said}") as raised:
        run(wrong)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "encoder.pt").exists()
