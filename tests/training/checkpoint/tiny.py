"""A training run of a tenth of a second that depends on all that could go wrong, and writes down what it did.

As a script it is one of two ranks: see `test_keeper.py`.
"""

import contextlib
import json
import os
import random
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers.logger import DummyLogger
from torch import nn
from torch.utils.data import Dataset

from sharding.errors import DataError, Interrupted
from training.checkpoint.cadence import Cadence
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.newest import find_newest
from training.checkpoint.stop import StopSignals
from training.checkpoint.writer import AtomicCheckpointIO
from training.launch.world import World
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler, TrainSampler

NUM_SAMPLES, BATCH_SIZE, EPOCHS = 13, 4, 3  # the tail of 1 is dropped
STEPS = NUM_SAMPLES // BATCH_SIZE  # of an epoch


class Stop(Exception):
    """Something ends a run that nobody asked to stop."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a run is computed, and what it is."""

    accumulation: int = 1
    workers: int = 0
    cadence: str = "1steps"
    seed: int = 0
    batch_size: int = BATCH_SIZE
    num_samples: int = NUM_SAMPLES
    asks_steps: bool = False


class Positions(Dataset):
    """Maps (epoch, position) to numbers that follow from them."""

    def __getitem__(self, item):
        epoch, position = item
        return {"epoch": epoch, "position": position, "x": torch.sin(torch.arange(1.0, 5) * (position + 7 * epoch + 1))}


class Net(LightningModule):
    """Batch statistics, dropout, momentum, a schedule, and draws from all generators.

    Args:
        hit: Called with the name of a hook, "step", "stepped", "validation" or "epoch", and how often that was
            called before, in this process.
        asks_steps: Whether it asks the trainer for the number of steps.
    """

    def __init__(self, hit=lambda hook, count: None, asks_steps=False):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.hit, self.asks_steps = hit, asks_steps
        self.trained, self.validated, self.rates, self.counts = [], [], [], {}

    def tell(self, hook):
        self.counts[hook] = self.counts.get(hook, -1) + 1
        self.hit(hook, self.counts[hook])

    def on_train_epoch_start(self):
        self.tell("epoch")

    def training_step(self, batch, index):
        self.tell("step")
        self.trained.append([[e, p] for e, p in zip(batch["epoch"].tolist(), batch["position"].tolist(), strict=True)])
        noise = random.random() + np.random.random()
        loss = (self.layers(batch["x"])[:, 0] - noise).square().mean()
        self.log("loss", loss)
        return loss

    def on_before_optimizer_step(self, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, outputs, batch, index):
        self.tell("stepped")

    def validation_step(self, batch, index):
        if not self.trainer.sanity_checking:
            self.tell("validation")
        self.log("val_loss", self.layers(batch["x"]).square().mean(), sync_dist=True)

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.validated.append([self.trainer.current_epoch, self.trainer.global_step])

    def configure_optimizers(self):
        steps = self.trainer.estimated_stepping_batches if self.asks_steps else EPOCHS * STEPS
        optimizer = torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (2 * steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Notes(DummyLogger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append([step, {name: float(value) for name, value in metrics.items()}])


def make_loaders(cut, sampler):
    share = cut.batch_size // int(os.environ.get("WORLD_SIZE", "1"))
    loading = Loading(batch_size=share // cut.accumulation, num_workers=cut.workers)
    validation = EvalSampler(5, 2)
    return (
        build_loader(Positions(), sampler, loading),
        build_loader(Positions(), validation, Loading(batch_size=2)),
    )


def make_trainer(cut, callbacks, **options):
    return Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "plugins": [AtomicCheckpointIO()],
            "max_epochs": EPOCHS,
            "accumulate_grad_batches": cut.accumulation,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 1,
            "log_every_n_steps": 1,
            "logger": Notes(),
            "callbacks": callbacks,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        | options
    )


def fit(net, folder, cut=None, callbacks=(), checkpoint=None, **options):
    """Train in `folder`, going on from its newest checkpoint, or from `checkpoint`; returns the trainer."""
    cut = cut or Cut()
    sampler, counter = TrainSampler(cut.num_samples, cut.batch_size), SampleCounter(cut.seed)
    counter.attach(sampler)
    with StopSignals() as stop:
        keeper = CheckpointKeeper(folder, Cadence.parse(cut.cadence), counter, stop)
        trainer = make_trainer(cut, [counter, *callbacks, keeper], **options)
        _scramble()
        trainer.fit(net, *make_loaders(cut, sampler), ckpt_path=checkpoint or find_newest(folder), weights_only=True)
    return trainer


def _scramble():
    """Give the global generators a past that must not matter."""
    random.seed()
    np.random.seed()
    torch.seed()


def stop_at(hook, count, error=Stop):
    """For `Net`: end the run there."""

    def hit(name, before):
        if (name, before) == (hook, count):
            raise error

    return hit


def signal_at(hook, count, number):
    """For `Net`: this process gets a real signal there."""

    def hit(name, before):
        if (name, before) == (hook, count):
            os.kill(os.getpid(), number)

    return hit


def report(net, trainer):
    """What a run did, as plain content."""
    return {
        "trained": net.trained,
        "validated": net.validated,
        "rates": net.rates,
        "rows": trainer.logger.rows,
        "steps": trainer.global_step,
        "weights": {name: value.tolist() for name, value in net.state_dict().items()},
        "optimizer": [state["momentum_buffer"].tolist() for state in trainer.optimizers[0].state.values()],
    }


def global_batches(trained, cut):
    """The positions of each optimizer step, from those of each micro-batch."""
    size = cut.accumulation
    steps = range(0, len(trained) - size + 1, size)
    return [[place for micro in trained[first : first + size] for place in micro] for first in steps]


def run_rank(out):
    """Both ranks: a run to the end, one that a signal to rank 1 stops, one that goes on, one of two folders."""
    cut = Cut(accumulation=1, cadence="epoch")
    options = {"strategy": "ddp", "devices": 2}
    whole = Net()
    trainer = fit(whole, out / "whole", cut, **options)
    rank, found = World.current().rank, {"whole": report(whole, trainer)}
    # In the fourth step: the answer of all ranks is read after the fifth. A save in between does not lose it.
    for name, cadence in (("stopped", "epoch"), ("saved", "1steps")):
        net = Net(signal_at("step", 3, signal.SIGUSR1) if rank == 1 else lambda hook, count: None)
        with contextlib.suppress(Interrupted):
            fit(net, out / name, replace(cut, cadence=cadence), **options)
        found[name] = {"trained": net.trained, "steps": net.trainer.global_step}
    rest = Net()
    found["resumed"] = report(rest, fit(rest, out / "stopped", cut, **options))
    try:
        fit(Net(), out / ("stopped" if rank == 0 else "elsewhere"), cut, **options)
    except DataError as error:
        found["apart"] = str(error)
    (out / f"rank{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()  # a thread of gloo that outlives the interpreter may abort the process


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]))
