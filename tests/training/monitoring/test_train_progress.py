import re
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from sharding import progress
from training.monitoring.run_clock import RunClock
from training.monitoring.train_progress import TrainProgress, replace_bar

BATCHES, STEP_S, VALIDATION_S = 4, 12.0, 20.0  # a step takes longer than the time between two lines of a log


class Net(LightningModule):
    """Takes its time, by a clock that it moves."""

    def __init__(self, now):
        super().__init__()
        self.layer, self.now = torch.nn.Linear(1, 1), now

    def training_step(self, batch, index):
        self.now.at += STEP_S
        return self.layer(batch).sum()

    def validation_step(self, batch, index):
        self.now.at += VALIDATION_S

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is moved."""
    found = SimpleNamespace(at=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: found.at))
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    return found


def make_trainer(callbacks, epochs, folder, **options):
    return Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, logger=False, callbacks=callbacks, default_root_dir=folder,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def lines(capsys):
    return [re.sub(r"^[-\d]+ [:\d]+ ", "", line) for line in capsys.readouterr().err.splitlines() if "epoch" in line]


def data():
    return DataLoader(torch.ones(BATCHES, 1))


def test_each_line_tells_the_time_of_the_whole_run_with_its_validations(now, tmp_path, capsys):
    bar = TrainProgress(clock=RunClock(lambda: now.at))
    make_trainer([bar], 2, tmp_path).fit(Net(now), data(), DataLoader(torch.ones(1, 1)))
    notes = [line.partition("; run: ")[2] for line in lines(capsys)]
    # Steps of 12 s; the time of validation is known from the second epoch on. An epoch's last line stands there twice.
    first = ["", "at least 72 s left", "at least 60 s left", "at least 48 s left", "at least 48 s left"]
    assert notes == [*first, "56 s left", "44 s left", "32 s left", "20 s left", "20 s left"]


def test_a_resumed_run_knows_only_what_it_measured_itself(now, tmp_path, capsys):
    first = make_trainer([], 2, tmp_path, limit_val_batches=0)
    first.fit(Net(now), data())
    first.save_checkpoint(tmp_path / "at.ckpt")
    now.at += 1e6
    bar = TrainProgress(clock=RunClock(lambda: now.at))
    again = make_trainer([bar], 10, tmp_path, limit_val_batches=0)
    again.fit(Net(now), data(), ckpt_path=tmp_path / "at.ckpt", weights_only=True)
    notes = [line.partition("; ")[2] for line in lines(capsys)]
    assert notes[:2] == ["", "run: at least 6 min left"]  # 30 batches of 12 s
    assert notes[-1] == "run: 0 s left"


def test_what_is_known_of_the_network_stands_behind(now, tmp_path, capsys):
    known = iter(["", *["abs_rel 0.2000, best 0.1000 (epoch 1)"] * 20])
    bar = TrainProgress(lambda: next(known), RunClock(lambda: now.at))
    make_trainer([bar], 1, tmp_path, limit_val_batches=0).fit(Net(now), data())
    assert lines(capsys) == [
        "epoch 1/1: 1 of 4 batches (25 %), 0.0833 batches/s, 36 s left",
        "epoch 1/1: 2 of 4 batches (50 %), 0.0833 batches/s, 24 s left; run: at least 24 s left; "
        "abs_rel 0.2000, best 0.1000 (epoch 1)",
        "epoch 1/1: 3 of 4 batches (75 %), 0.0833 batches/s, 12 s left; run: at least 12 s left; "
        "abs_rel 0.2000, best 0.1000 (epoch 1)",
        *[
            "epoch 1/1: 4 of 4 batches (100 %), 0.0833 batches/s; run: at least 0 s left; "
            "abs_rel 0.2000, best 0.1000 (epoch 1)"
        ]
        * 2,
    ]


def test_a_run_without_an_end_has_no_time_left(now, tmp_path, capsys):
    bar = TrainProgress(clock=RunClock(lambda: now.at))
    make_trainer([bar], -1, tmp_path, limit_val_batches=0, max_steps=6).fit(Net(now), data())
    found = lines(capsys)
    assert len(found) >= 6
    assert not [line for line in found if "run:" in line]


def test_the_bar_takes_the_place_of_lightnings(tmp_path):
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=1, logger=False, default_root_dir=tmp_path)
    assert trainer.progress_bar_callback.is_enabled
    replace_bar(trainer)
    assert trainer.progress_bar_callback.is_disabled
    assert len([one for one in trainer.callbacks if isinstance(one, TrainProgress)]) == 1
