"""Runs of a small network with what Lightning has."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from sharding.errors import Interrupted, UsageError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.evaluation.evaluate import NamedPredictor, evaluate_model
from training.finetuning import finetune
from training.finetuning.record import read_curves
from training.lightning.averaging import CURRENT
from training.metrics.protocols import METRICS
from training.model.depth_unet import DepthUnet

OUTDOOR = "scene_type == 'outdoor'"
EMA = {"EMAWeightAveraging": {"decay": 0.8}}


def make_tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))


def make_config(sets, out, lightning, **options):
    least = {"where": OUTDOOR, "encoder_name": "resnet18", "height": 40, "width": 48, "epochs": 3, "batch_size": 8}
    where = {"num_workers": 0, "accelerator": "cpu", "devices": "1", "learning_rate": 1e-2}
    return FinetuneConfig(
        set=sets[0].url, val=sets[1].url, out=str(out), lightning=lightning, **(least | where | options)
    )


def run(config):
    return finetune.train(config, make_tiny)


def load(out, which):
    return torch.load(Path(out) / "checkpoints" / f"{which}.ckpt", map_location="cpu", weights_only=True)


def measured(state, sets):
    """Metrics of weights on the validation set."""
    model = DepthUnet(make_tiny(), load_options(state)).eval()
    model.load_state_dict(state["state_dict"])
    named = NamedPredictor(predictor=model, name="tiny", fingerprint="")
    return evaluate_model(named, ShardSet(sets[1].url, OUTDOOR)).mean("headline")


def load_options(state):
    return state["hyper_parameters"]


def rows(out):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_curves(out)]


@pytest.fixture(scope="module")
def sets(diode_sets):
    return diode_sets


@pytest.fixture(scope="module")
def all_of_it(sets, tmp_path_factory):
    """A run with a logger, an average, an early end after two of three epochs, and a profiler."""
    folder = tmp_path_factory.mktemp("all")
    mapping = EMA | {
        "CSVLogger": {"prefix": "p"},
        "EarlyStopping": {"monitor": "val_delta1", "patience": 1, "min_delta": 10},
        "LearningRateMonitor": {},
        "profiler": "simple",
        "log_every_n_steps": 1,
    }
    config = make_config(sets, folder / "run", mapping)
    with pytest.MonkeyPatch.context() as patch:
        (folder / "here").mkdir()
        patch.chdir(folder / "here")
        return config, run(config)


def test_a_run_that_ends_early_is_finished_and_says_so(all_of_it):
    config, outcome = all_of_it
    metrics = json.loads(Path(config.out, "metrics.json").read_text())
    assert (metrics["finished"], metrics["epochs"], len(rows(config.out))) == (True, 2, 2)
    assert f"{config.out}: 2 epochs; last: log10 " in outcome.text
    again = run(replace(config, resume=True))
    assert "is finished (2 epochs): nothing to do" in again.text


@pytest.mark.parametrize("which", ["last", "best"])
def test_checkpoints_have_the_averaged_weights_that_were_validated(all_of_it, sets, which):
    config, _ = all_of_it
    metrics = json.loads(Path(config.out, "metrics.json").read_text())[which]
    state = load(config.out, which)
    assert measured(state, sets) == pytest.approx({name: metrics[name] for name in METRICS}, rel=1e-5)
    if which == "last":
        assert not torch.equal(state["state_dict"]["unet.0.weight"], state[CURRENT]["unet.0.weight"])


def test_every_file_is_below_the_run_folder(all_of_it):
    out = Path(all_of_it[0].out)
    assert not list((out.parent / "here").iterdir())
    assert "run_training_epoch" in (out / "lightning" / "profiler" / "fit-SimpleProfiler.txt").read_text()
    assert {path.name for path in (out / "lightning").iterdir()} == {"csv", "profiler"}


def test_the_table_has_what_tensorboard_has(all_of_it):
    out = Path(all_of_it[0].out)
    table = read_table(out)
    found = {int(row["step"]): float(row["p-train_loss"]) for row in table if row["p-train_loss"]}
    board = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    assert found == pytest.approx({event.step: event.value for event in board.Scalars("train_loss")})
    assert len(found) == 8
    assert len(board.Tags()["images"]) == 4  # panels
    assert any(name.startswith("p-lr-AdamW") for name in table[0])


def read_table(out):
    with (Path(out) / "lightning" / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def learned(out):
    """The table without what was measured of time."""
    table = [{k: v for k, v in row.items() if v and not k.startswith("throughput/")} for row in read_table(out)]
    return [row for row in table if row.keys() > {"step"}]


class Fault(Callback):
    """Acts when an epoch's hook comes for the first time."""

    def __init__(self, hook, epoch, act):
        self.act, self.epoch = act, epoch
        setattr(self, hook, self.strike)

    def strike(self, trainer, *_):
        if trainer.current_epoch == self.epoch and not trainer.sanity_checking:
            self.epoch = -1
            self.act()


def power_cut():
    raise OSError("power cut")


def run_until(config, fault, expected, monkeypatch):
    make_callbacks = finetune.make_callbacks
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "make_callbacks", lambda *given: [*make_callbacks(*given), fault])
        with pytest.raises(expected):
            run(config)


class Look(Callback):
    """Looks at the weights where panels are drawn."""

    def on_validation_end(self, trainer, pl_module):
        self.seen = {name: value.clone() for name, value in pl_module.state_dict().items()}


def test_panels_are_drawn_of_the_averaged_weights(sets, tmp_path, monkeypatch):
    look, make_callbacks = Look(), finetune.make_callbacks
    monkeypatch.setattr(finetune, "make_callbacks", lambda *given: [*make_callbacks(*given), look])
    run(make_config(sets, tmp_path / "run", EMA, epochs=1))
    saved = load(tmp_path / "run", "last")["state_dict"]
    assert all(torch.equal(look.seen[name], value) for name, value in saved.items())


CUTS = {
    "at an epoch's begin": ("on_train_epoch_start", 1, power_cut, OSError),
    "within an epoch": ("on_train_batch_end", 1, lambda: signal.raise_signal(signal.SIGTERM), Interrupted),
    "within a validation": ("on_validation_batch_end", 1, lambda: signal.raise_signal(signal.SIGTERM), Interrupted),
    "before its end": ("on_train_end", 3, power_cut, OSError),
}


@pytest.fixture(scope="module")
def whole(sets, tmp_path_factory):
    config = make_config(
        sets, tmp_path_factory.mktemp("whole") / "run", EMA | {"CSVLogger": {}, "log_every_n_steps": 1}
    )
    run(config)
    return config


@pytest.mark.parametrize(
    "cut", [pytest.param(cut, marks=[pytest.mark.slow] * (cut != "within a validation")) for cut in CUTS]
)
def test_a_run_with_an_average_goes_on_to_the_very_same_weights(cut, whole, tmp_path, monkeypatch):
    hook, epoch, act, error = CUTS[cut]
    config = replace(whole, out=str(tmp_path / "run"), resume=True)
    run_until(config, Fault(hook, epoch, act), error, monkeypatch)
    run(config)
    assert rows(config.out) == rows(whole.out)
    for which in ("last", "best"):
        found, wanted = load(config.out, which), load(whole.out, which)
        for part in {"state_dict", CURRENT} & wanted.keys():
            assert all(torch.equal(found[part][name], value) for name, value in wanted[part].items())
    # Values of the step after which a run is stopped are not logged, to TensorBoard neither: the process ends before.
    lost = "4" if cut == "within an epoch" else None
    expected = [row for row in learned(whole.out) if not ("train_loss" in row and row["step"] == lost)]
    assert learned(config.out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["on_train_end", pytest.param("on_fit_end", marks=pytest.mark.slow)])
def test_a_run_that_was_about_to_end_early_ends_when_it_is_resumed(hook, sets, tmp_path, monkeypatch):
    stop = {"EarlyStopping": {"monitor": "val_loss", "patience": 1, "min_delta": 100}}
    config = make_config(sets, tmp_path / "run", stop, resume=True)
    run_until(config, Fault(hook, 2, power_cut), OSError, monkeypatch)
    run(config)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["finished"], metrics["epochs"]) == (True, 2)


def test_a_resumed_run_may_have_another_logger_but_not_another_average(whole, sets, tmp_path):
    config = replace(whole, resume=True, lightning=EMA | {"profiler": "simple"})
    assert "nothing to do" in run(config).text
    with pytest.raises(UsageError, match=r"begun with lightning: EMAWeightAveraging \{'decay': 0.8\}, not not set"):
        run(replace(whole, resume=True, lightning=None))


def test_what_cannot_be_set_is_refused_before_a_folder_is_made(sets, tmp_path):
    with pytest.raises(UsageError, match="max_epochs cannot be set: give --epochs"):
        run(make_config(sets, tmp_path / "run", {"max_epochs": 3}))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_average_alike_and_one_of_them_writes(sets, tmp_path):
    """From a file of options; the BatchNorm statistics of a rank are its own until the next step."""
    mapping = EMA | {
        "CSVLogger": {},
        "EarlyStopping": {"monitor": "val_loss", "patience": 1, "min_delta": 1e9},
        "profiler": "simple",
    }
    config = make_config(sets, tmp_path / "run", mapping, devices="2")
    fields = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    (tmp_path / "options.yaml").write_text(yaml.safe_dump({**fields, "cache_size": "1GB"}))
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "training", "finetune", "--config", str(tmp_path / "options.yaml"), "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": "ignore"},
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert (metrics["epochs"], metrics["finished"]) == (2, True)
    assert not list((tmp_path / "here").iterdir())
    reports = sorted(path.name for path in (tmp_path / "run" / "lightning" / "profiler").iterdir())
    assert reports == ["fit-SimpleProfiler-0.txt", "fit-SimpleProfiler-1.txt"]
    assert [row["epoch"] for row in read_table(config.out) if row["val_loss"]] == ["0", "1"]
    for which in ("last", "best"):
        named = NamedPredictor(
            predictor=DepthUnet.load(tmp_path / "run" / "checkpoints" / f"{which}.ckpt"), name="two", fingerprint=""
        )
        found = evaluate_model(named, ShardSet(sets[1].url, OUTDOOR)).mean("headline")
        assert found == pytest.approx({name: metrics[which][name] for name in METRICS}, rel=1e-5)
