import shutil
from collections import namedtuple
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.profilers import PassThroughProfiler, SimpleProfiler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig, PretrainConfig
from training.finetuning import finetune
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.monitoring import monitor
from training.monitoring.monitor import FETCH, RATE_TAG, WAIT_TAG, ThroughputMonitor, count_samples
from training.monitoring.timeline import HostTimeline
from training.pretraining import pretrain, strategy

SAMPLES, BATCH = 20, 2
OUTDOOR = "scene_type == 'outdoor'"


class Clock:
    """A host with a device that works on its own: both are told how long things take."""

    def __init__(self):
        self.now = 0.0
        self.busy_until = 0.0

    def __call__(self):
        return self.now

    def launch(self, seconds):
        self.busy_until = max(self.busy_until, self.now) + seconds


class Ticking(Clock):
    """A clock that advances by a second whenever it is read."""

    def __call__(self):
        self.now += 1.0
        return self.now


class DeviceTimeline:
    """Marks as CUDA's events are: each happens when the work before it is done."""

    def __init__(self, clock):
        self._clock = clock

    def mark(self):
        return max(self._clock.now, self._clock.busy_until)

    def is_past(self, mark):
        return self._clock.now >= mark

    def seconds(self, begin, end):
        assert self.is_past(end), "read before it happened"
        return end - begin


class Rows(Dataset):
    """Takes its time over each batch: `wait(first row)` seconds."""

    def __init__(self, clock, wait):
        self.clock, self.wait = clock, wait

    def __len__(self):
        return SAMPLES

    def __getitems__(self, rows):
        self.clock.now += self.wait(rows[0])
        return [torch.ones(1) for _ in rows]


class Stream(IterableDataset):
    """The same, of a length that nobody knows."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        for first in range(0, SAMPLES, BATCH):
            yield torch.stack(self.rows.__getitems__(range(first, first + BATCH)))


class Net(LightningModule):
    def __init__(self, clock, host_s=1.0, device_s=0.0):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.clock, self.host_s, self.device_s = clock, host_s, device_s

    def training_step(self, batch, index):
        self.clock.launch(self.device_s)
        self.clock.now += self.host_s
        return self.layer(batch).sum()

    def validation_step(self, batch, index):
        self.clock.now += 1000.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Notes(DummyLogger):
    """Keeps what is logged, and at which step of the run."""

    def __init__(self):
        super().__init__()
        self.rows, self.logged_at, self.trainer = [], [], None

    def log_metrics(self, metrics, step=None):
        if RATE_TAG in metrics:
            self.rows.append((step, metrics[RATE_TAG], metrics[WAIT_TAG]))
            self.logged_at.append(self.trainer.global_step)


class Dawdling(Callback):
    """Takes long, between two steps."""

    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_end(self, *_):
        self.clock.now += 500.0


def make_trainer(callbacks, **options):
    notes = Notes()
    notes.trainer = Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": notes,
            "callbacks": callbacks,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        | options
    )
    return notes.trainer


def fit(clock, wait=lambda row: 3.0, every=4, timeline=None, net=None, callbacks=(), **options):
    """Train on ten batches of two; return what was logged."""
    watching = ThroughputMonitor(every, timeline or HostTimeline(clock))
    trainer = make_trainer([watching, *callbacks], **options)
    trainer.fit(net or Net(clock), DataLoader(Rows(clock, wait), BATCH))
    return trainer.logger


@pytest.fixture
def clock():
    return Clock()


def test_each_window_tells_its_own_rate_and_share(clock):
    slow_later = fit(clock, wait=lambda row: 3.0 if row < 8 else 7.0)
    assert slow_later.rows == [(3, 8 / 16, 12 / 16), (7, 8 / 32, 28 / 32), (9, 4 / 16, 14 / 16)]


def test_the_samples_of_a_step_are_those_of_all_its_micro_batches(clock):
    notes = fit(clock, every=2, accumulate_grad_batches=2)
    assert notes.rows == [(1, 0.5, 0.75), (3, 0.5, 0.75), (4, 0.5, 0.75)]


def test_what_lies_between_steps_counts_for_none(clock):
    trainer = make_trainer(
        [ThroughputMonitor(4, HostTimeline(clock)), Dawdling(clock)], max_epochs=2, val_check_interval=0.2
    )
    loader = DataLoader(Rows(clock, lambda row: 3.0), BATCH)
    trainer.fit(Net(clock), loader, DataLoader(Rows(clock, lambda row: 50.0), BATCH))
    assert clock.now > 20 * 1000  # it did validate
    assert trainer.logger.rows == [(step, 0.5, 0.75) for step in (3, 7, 9, 11, 15, 19)]


def test_a_loader_of_unknown_length_is_asked_one_batch_ahead(clock):
    trainer = make_trainer([ThroughputMonitor(100, HostTimeline(clock))], max_epochs=2)
    trainer.fit(Net(clock), DataLoader(Stream(Rows(clock, lambda row: 3.0)), batch_size=None))
    # Lightning takes the very first batch before it tells anybody
    assert trainer.logger.rows == [(9, 20 / 37, 27 / 37), (19, 20 / 40, 30 / 40)]


def test_a_resumed_run_goes_on_with_the_same_windows(clock, tmp_path):
    before = make_trainer([ThroughputMonitor(4, HostTimeline(clock))], max_epochs=2, limit_train_batches=5)
    before.fit(Net(clock), DataLoader(Rows(clock, lambda row: 3.0), BATCH))
    assert [step for step, *_ in before.logger.rows] == [3, 4, 7, 9]
    before.save_checkpoint(tmp_path / "at10.ckpt")
    clock.now += 1e6
    after = make_trainer([ThroughputMonitor(4, HostTimeline(clock))], max_epochs=3, limit_train_batches=5)
    loader = DataLoader(Rows(clock, lambda row: 3.0), BATCH)
    after.fit(Net(clock), loader, ckpt_path=tmp_path / "at10.ckpt", weights_only=True)
    assert after.logger.rows == [(11, 0.5, 0.75), (14, 0.5, 0.75)]


@pytest.mark.parametrize("device_s", [0.0, 2.0, 4.0, 6.0, 11.0])
@pytest.mark.parametrize("wait_s", [0.0, 3.0, 8.0])
def test_data_that_come_while_the_device_computes_held_nobody_up(clock, device_s, wait_s):
    """Each step the loop waits, launches, and goes on 1 s later; checked against a plain account of the device."""
    timeline, free = DeviceTimeline(clock), 0.0
    idle, ends, now = [], [0.0], 0.0
    for _ in range(10):
        asked, now = now, now + wait_s
        idle.append(max(0.0, now - max(asked, free)))
        free = max(free, now) + device_s
        now += 1.0
        ends.append(max(free, now))
    notes = fit(clock, lambda row: wait_s, every=5, timeline=timeline, net=Net(clock, device_s=device_s))
    clock.now += 1000.0
    notes.trainer.callbacks[0]._log(notes.trainer)  # where CUDA is waited for at the end, time passes here
    first, second = (idle[:5], ends[5] - ends[0]), (idle[5:], ends[10] - ends[5])
    expected = [(step, 10 / took, sum(waits) / took) for step, (waits, took) in ((4, first), (9, second))]
    assert [step for step, *_ in notes.rows] == [4, 9]
    assert np.allclose(notes.rows, expected, rtol=1e-12)
    if device_s > wait_s + 1:
        assert notes.rows[1][2] == 0


def test_no_step_waits_for_the_device(clock):
    """The device is 30 s a step, the loop 1 s: a window is logged once it is over on the device, never before."""
    notes = fit(clock, lambda row: 0.0, every=1, timeline=DeviceTimeline(clock), net=Net(clock, device_s=30.0))
    assert notes.rows == []
    assert clock.now == 10.0
    clock.now = 95.0
    notes.trainer.callbacks[0]._log(notes.trainer)
    assert [step for step, *_ in notes.rows] == [0, 1, 2]
    again = fit(Clock(), every=2, timeline=(lagging := Lagging(notes)), net=Net(clock))
    assert lagging.asked >= 5
    assert [step for step, *_ in again.rows] == [1, 3, 5, 7, 9]
    assert again.logged_at == [4, 6, 8, 10, 10]


class Lagging(HostTimeline):
    """A device that is through with a window one window later: every other question is answered by no."""

    def __init__(self, notes):
        super().__init__()
        self.asked, self.marks = 0, []

    def is_past(self, mark):
        self.asked += 1
        known, self.marks = mark in self.marks, [*self.marks, mark]
        return known


def test_all_ranks_count_and_rank_zero_tells(clock):
    """The hooks as Lightning calls them, of rank 0 of 3 and of rank 1."""
    for rank, expected in ((0, [(0, 6 / 4, 3 / 4)]), (1, [])):
        notes, watching = Notes(), ThroughputMonitor(1, HostTimeline(clock))
        profiler = PassThroughProfiler()
        trainer = SimpleNamespace(
            is_global_zero=rank == 0, world_size=3, global_step=0, loggers=[notes], profiler=profiler
        )
        notes.trainer = trainer
        watching.on_fit_start(trainer, None)
        watching.on_train_start(trainer, None)
        with trainer.profiler.profile(f"[_TrainingEpochLoop].{FETCH}"):
            clock.now += 3.0
        clock.now += 1.0
        trainer.global_step = 1
        watching.on_train_batch_end(trainer, None, None, torch.ones(BATCH, 1), 0)
        watching.on_train_epoch_end(trainer, None)
        watching.on_train_end(trainer, None)
        watching.teardown(trainer, None, "fit")
        assert notes.rows == expected
        assert trainer.profiler is profiler


def test_the_trainers_own_profiler_goes_on(clock):
    profiler = SimpleProfiler()
    notes = fit(clock, profiler=profiler)
    assert notes.trainer.profiler is profiler
    assert len(profiler.recorded_durations[f"[_TrainingEpochLoop].{FETCH}"]) == 10


def test_a_run_that_fails_leaves_the_profiler(clock):
    profiler, watching = PassThroughProfiler(), ThroughputMonitor(4, HostTimeline(clock))
    trainer = make_trainer([watching], profiler=profiler)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(Net(clock), DataLoader(Rows(clock, lambda row: 1 / (row - 4)), BATCH))
    assert trainer.profiler is profiler


Pair = namedtuple("Pair", "one two")


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (torch.zeros(5, 3), 5),
        ({"key": ["a", "b"], "image": torch.zeros(2, 3, 8, 8), "weight": torch.ones(2)}, 2),
        ({"filename": ["a"] * 4, "views": [torch.zeros(4, 3), torch.zeros(4, 3)]}, 4),
        (Pair("x", (torch.zeros(7), torch.zeros(1))), 7),
        ({"key": ["a", "b"]}, 0),
    ],
)
def test_samples_are_counted_by_the_first_tensor(batch, count):
    assert count_samples(batch) == count


def read_events(folder):
    """The points of both tags: {tag: [(step, value)]}, from whatever event files lie below the folder."""
    (log,) = {path.parent for path in folder.rglob("events.out.*")}
    accumulator = EventAccumulator(str(log)).Reload()
    return {tag: [(one.step, one.value) for one in accumulator.Scalars(tag)] for tag in (RATE_TAG, WAIT_TAG)}


@pytest.fixture
def slow_later(monkeypatch):
    """Make a trainer's monitor log each step, and its dataset take an hour for a batch after the first two steps.

    Its clock advances by a second whenever it is read, and by what the dataset takes: how busy the machine is shows
    nowhere.
    """
    clock = Ticking()
    monkeypatch.setattr(monitor, "timeline_of", lambda device: HostTimeline(clock))

    def slow(trainer, kind, reads="__getitems__"):
        read = getattr(kind, reads)

        def getitems(self, positions):
            if isinstance(positions[0], tuple) and positions[0][1] >= 2 * 8:
                clock.now += 3600.0
            return read(self, positions)

        monkeypatch.setattr(kind, reads, getitems)
        monkeypatch.setattr(trainer, "ThroughputMonitor", partial(ThroughputMonitor, 1))

    return slow


def check(points, steps, micro_batches):
    """An epoch of so many steps of 8, of which those after the second wait an hour for each micro-batch."""
    # A micro-batch reads the clock when its data are asked for, when they are there, and at its end: 1 s, then 1 s.
    waits = [micro_batches * (1 + 3600 * (step >= 2)) for step in range(steps)]
    wholes = [wait + micro_batches for wait in waits]
    for tag, expected in ((RATE_TAG, [8 / whole for whole in wholes]), (WAIT_TAG, np.divide(waits, wholes))):
        assert [step for step, _ in points[tag]] == list(range(steps))
        assert [value for _, value in points[tag]] == pytest.approx(expected, rel=1e-6)  # events hold float32


@pytest.mark.slow
def test_fine_tuning_logs_what_a_slow_loader_costs(diode_sets, tmp_path, slow_later):
    slow_later(finetune, DiodeDepthDataset)
    train, val = diode_sets
    config = FinetuneConfig(
        set=train.url, val=val.url, where=OUTDOOR, out=str(tmp_path / "run"), encoder_name="resnet18", height=40,
        width=48, epochs=1, batch_size=8, micro_batch="4", num_workers=0, accelerator="cpu", devices="1",
    )  # fmt: skip
    finetune.run(config)
    check(read_events(tmp_path / "run"), len(ShardSet(train.url, OUTDOOR)) // 8, micro_batches=2)
    shutil.rmtree(tmp_path / "run")  # a checkpoint of the least network has 0.4 GB


@pytest.mark.slow
def test_pretraining_logs_what_a_slow_loader_costs(megadepth_set, tmp_path, slow_later):
    slow_later(strategy, ImageDataset, "iterate")
    config = PretrainConfig(
        sets=(megadepth_set.url,), out=str(tmp_path / "run"), model="torchvision/resnet18", method="simclr", epochs=1,
        batch_size=8, image_size=32, num_workers=0, accelerator="cpu", devices="1",
    )  # fmt: skip
    pretrain.run(config)
    check(read_events(tmp_path / "run"), len(megadepth_set) // 8, micro_batches=1)
