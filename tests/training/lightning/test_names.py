import inspect

import msgspec
import pytest
import pytorch_lightning
import torch
from pytorch_lightning import callbacks, loggers, profilers

from training.lightning import names
from training.metrics.names import METRIC_NAMES

MODULES = {"LOGGERS": loggers, "PROFILERS": profilers, "CALLBACKS": callbacks}
THEIRS = {name: getattr(module, name) for module in MODULES.values() for name in module.__all__}


def parameters(function):
    return {name: one for name, one in inspect.signature(function).parameters.items() if name != "self"}


def test_every_class_of_lightning_can_be_set_or_is_refused():
    # If this fails, Lightning has a new class, or has lost one: take it, or say why it is refused.
    gone = {"NeptuneLogger"}  # refused with a reason, as older guides have it
    assert set(names.CLASSES) | set(names.REFUSED) == set(THEIRS) | gone
    assert set(names.CLASSES).isdisjoint(names.REFUSED)
    for table, module in MODULES.items():
        assert set(getattr(names, table)) <= set(module.__all__)


@pytest.mark.parametrize("name", names.CLASSES)
def test_the_arguments_of_a_class_are_those_of_the_installed_release(name):
    theirs, ours = parameters(THEIRS[name].__init__), names.CLASSES[name]
    handed_on = {one for one, parameter in theirs.items() if parameter.kind is parameter.VAR_KEYWORD}
    assert set(ours) == (set(theirs) - handed_on) | set(HANDED_ON.get(name, ()))
    assert bool(handed_on) == (name in HANDED_ON)


HANDED_ON = {  # arguments that a class hands on to what it builds
    "EMAWeightAveraging": (),  # functions, which a file cannot have
    "WeightAveraging": (),
    "WandbLogger": ("entity", "group", "job_type", "notes", "tags"),
    "PyTorchProfiler": ("profile_memory", "record_shapes", "with_flops", "with_stack"),
}


def test_what_the_profiler_hands_on_is_known_to_torch():
    assert set(HANDED_ON["PyTorchProfiler"]) <= set(inspect.signature(torch.profiler.profile.__init__).parameters)


def test_the_arguments_of_the_trainer_are_those_of_the_installed_release():
    assert set(names.TRAINER_ARGS) == set(inspect.signature(pytorch_lightning.Trainer).parameters)


def test_every_default_of_lightning_has_the_type_of_the_table():
    tables = {name: (THEIRS[name].__init__, names.CLASSES[name]) for name in names.CLASSES}
    tables["Trainer"] = (pytorch_lightning.Trainer.__init__, names.TRAINER_ARGS)
    decided = {("Trainer", "log_every_n_steps"), ("Trainer", "gradient_clip_algorithm"), ("Trainer", "min_epochs")}
    seen = 0
    for name, (function, ours) in tables.items():
        for argument, parameter in parameters(function).items():
            if isinstance(ours.get(argument), str) or parameter.default is parameter.empty:
                continue
            if (name, argument) not in decided and argument in ours:
                msgspec.convert(parameter.default, ours[argument])  # raises if it has not
                seen += 1
    assert seen > 40


def test_monitors_are_what_a_run_logs_and_their_better_direction():
    metrics = {f"val_{name}": "min" if one.lower_is_better else "max" for name, one in METRIC_NAMES.items()}
    assert names.MONITORS == {"val_loss": "min", **metrics, "train_loss_epoch": "min"}


def test_what_learns_can_be_set():
    assert set(names.LEARNS) < set(names.CLASSES) | set(names.TRAINER_ARGS)
