"""Whether the data keep up with the device: a set against constant tensors, stalls, transfer, workers, the warp."""

import statistics
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from step_bench.feeding import feed_set, rate_of_constant
from step_bench.ladder import FED, LADDER
from step_bench.step import Step, StepSize, make_batch
from step_bench.timing import synchronize, time_in_turn, time_ms
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import DataLoader, IterableDataset
from traced_steps import quiet

from gpu_checks.bench import Bench
from gpu_checks.check import Check, bounded, unable
from gpu_checks.runs import read_series
from sharding.format.sample import Sample
from sharding.reading.shard_set import ShardSet
from training.finetuning.finetune import init_model
from training.loading.augment import PairedAugment
from training.loading.view import ViewArrays
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters
from training.monitoring.monitor import WAIT_TAG, ThroughputMonitor
from training.pretraining import pretrain

LIMIT_S = 45
STALL_BOUND = 0.1
"""Largest difference of the reported share of waiting from the injected one."""


class Stalling(IterableDataset[dict[str, Any]]):
    """A batch on this machine, again and again, each after a wait of so many seconds."""

    def __init__(self, batch: dict[str, Any], count: int, stall_s: float) -> None:
        self._batch, self._count, self._stall_s = batch, count, stall_s

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in repeat(self._batch, self._count):
            time.sleep(self._stall_s)
            yield batch


class StepClock(Callback):
    """Notes when each step begins and ends, after the device has done it."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Note the begin."""
        self._begin = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Wait for the device, and note the time that the step took."""
        synchronize(trainer.strategy.root_device)
        self.steps.append(time.perf_counter() - self._begin)


def inject_stall(bench: Bench) -> Iterator[Check]:
    """Stall for as long as a step takes: about half of the time is waiting."""
    sizes, folder = bench.sizes, bench.folder / "stall"
    size = StepSize(encoder=sizes.encoder, height=sizes.height, width=sizes.width, batch=sizes.batch)
    batch = make_batch(size, torch.device("cpu"))
    _fit(bench, Stalling(batch, 4, 0.0), folder / "plain", clock := StepClock())
    stall_s = max(0.05, statistics.median(clock.steps[1:]))
    _fit(bench, Stalling(batch, 8, stall_s), folder / "stalled", clock := StepClock())
    # The first window includes what is done once, such as choosing algorithms.
    shares = read_series(folder / "stalled", WAIT_TAG)[2:]
    expected = [stall_s / (stall_s + step_s) for step_s in clock.steps[2:]]
    difference = abs(statistics.median(shares) - statistics.median(expected))
    yield bounded("stall_seen", difference, STALL_BOUND, stall_s=stall_s, wait_shares=shares, expected=expected)


def _fit(bench: Bench, source: Stalling, folder: Path, clock: StepClock) -> None:
    options = Hyperparameters(encoder_name=bench.sizes.encoder)
    trainer = Trainer(
        accelerator="gpu" if bench.on_gpu else "cpu",
        devices=1,
        max_epochs=1,
        callbacks=[clock, ThroughputMonitor(every=1)],
        logger=TensorBoardLogger(str(folder)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    with quiet():
        trainer.fit(DepthUnet(init_model("none", options.encoder_name), options), DataLoader(source, batch_size=None))


def train_from_set(bench: Bench) -> Iterator[Check]:
    """Take steps on a constant batch that is on the device, then on batches of the set, with more and more workers."""
    size = bench.step_size
    step = Step(size, LADDER[FED[bench.device.type]], bench.device)
    for _ in range(2):  # warms up
        step()
    ceiling = rate_of_constant(step, bench.sizes.repeats)
    yield Check(name="constant", ok=True, figures={"ms": 1000 * size.batch / ceiling, "images_per_s": ceiling})
    rows = []
    for workers in (2, 4, 8, 14) if bench.on_gpu else (0, 1):
        fed = feed_set(step, size, bench.large, workers, max(4, workers))
        row = {"workers": workers, "images_per_s": fed.images_per_s, "of_constant": fed.images_per_s / ceiling}
        # What the workers must compute a second for the device never to wait.
        rows.append(row | {"worker_ms": fed.worker_ms, "cores_a_device": ceiling * fed.worker_ms / 1000})
        yield Check(name="workers", ok=True, figures={"rows": list(rows)})  # again with each row


def pretrain_from_set(bench: Bench) -> Iterator[Check]:
    """Pretrain for some steps, and read which share of them the monitor says was waiting."""
    config = bench.pretrain("feed-pretrain", method="simclr")
    outcome = pretrain.run(config)
    waits = read_series(Path(config.out), WAIT_TAG)
    ok = bool(waits) and all(0 <= wait <= 1 for wait in waits)
    figures = {
        "workers": bench.workers,
        "wait_shares": waits,
        "seconds": outcome.data["seconds"],
    }
    yield Check(name="pretraining", ok=ok, why="" if ok else "no share of waiting was logged", figures=figures)


def time_transfer(bench: Bench) -> Iterator[Check]:
    """Copy a batch to the device from page-locked and from pageable memory."""
    if not bench.on_gpu:
        yield unable("transfer", "page-locked memory needs CUDA")
        return
    device = bench.device
    pageable = make_batch(bench.step_size, torch.device("cpu"))["depth"]
    pinned = pageable.pin_memory()
    figures = {
        name: time_ms(lambda source=source: source.to(device, non_blocking=True), device, 10)["ms"]  # type: ignore[misc]
        for name, source in (("pageable_ms", pageable), ("pinned_ms", pinned))
    }
    figures["bytes"] = pageable.nbytes
    faster = figures["pinned_ms"] <= figures["pageable_ms"]
    yield Check(name="transfer", ok=faster, why="" if faster else "page-locked is slower", figures=figures)


def warp_on_device(bench: Bench) -> Iterator[Check]:
    """Warp a batch on the device, and a sample on the host: would a worker better only read, check and decode?"""
    size, samples = bench.step_size, ShardSet(bench.large)
    augment = PairedAugment(height=size.height, width=size.width)
    into = ViewArrays.empty(size.height, size.width)
    sample = samples[0]
    host = time_in_turn(
        (lambda: samples[0], lambda: augment.fill(sample, np.random.default_rng(0), into)),
        torch.device("cpu"),
        bench.sizes.repeats,
    )
    device = time_in_turn((DeviceWarp(sample, size, bench.device),), bench.device, bench.sizes.repeats)[0]
    figures = {
        "host_read_ms": statistics.median(host[0].cpu),
        "host_warp_ms": statistics.median(host[1].cpu),
        "device_warp_ms": statistics.median(device.wall) / size.batch,
        "sent_over_view": sample.image[..., 0].size / (size.height * size.width),
    }
    yield Check(name="device_warp", ok=True, figures=figures)


class DeviceWarp:
    """A batch that is on the device, and its warp: image bilinear, depth by the nearest pixel.

    Args:
        sample: The batch is of this one, again and again.
        size: Of the views.
        device: Where it is.
    """

    def __init__(self, sample: Sample, size: StepSize, device: torch.device) -> None:
        assert sample.depth is not None
        both = torch.from_numpy(np.concatenate([sample.image.transpose(2, 0, 1), sample.depth[None]], dtype=np.float32))
        batch = both.to(device).expand(size.batch, -1, -1, -1)
        self._image, self._depth = batch[:, :3], batch[:, 3:]
        turn = torch.tensor([[0.9, -0.1, 0.05], [0.1, 0.9, 0.0]], device=device)
        self._turns, self._shape = turn.expand(size.batch, 2, 3), (size.batch, 1, size.height, size.width)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return image, float32 (B, 3, h, w), and depth, float32 (B, 1, h, w)."""
        grid = affine_grid(self._turns, list(self._shape), align_corners=False)
        image = grid_sample(self._image, grid, padding_mode="reflection", align_corners=False)
        return image, grid_sample(self._depth, grid, mode="nearest", align_corners=False)


STAGES = (
    (("stall_seen",), inject_stall),
    (("transfer",), time_transfer),
    (("pretraining",), pretrain_from_set),
    (("device_warp",), warp_on_device),
    (("constant", "workers"), train_from_set),
)
