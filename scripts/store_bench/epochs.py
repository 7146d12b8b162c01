"""Measured epochs of the fine-tuning loader: waiting, speed, memory and CPU of the workers, bytes in flight."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import torch
from process_stat import read_stat
from torch.utils.data import DataLoader, get_worker_info

from sharding.reading.shard_set import ShardSet
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset, Position
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.loading.view_batch import ViewBatch

BEGAN, PID, IN_FLIGHT = range(3)
"""Columns of the board, a row for each worker: time of its first request in this epoch (monotonic clock, seconds; 0 for
none yet), its process id, and most bytes it had in flight."""


class WatchedDataset(DiodeDepthDataset):
    """The fine-tuning dataset, whose workers record their activity on a board in shared memory.

    Args:
        samples: The set.
        augment: Applied to each sample.
        num_workers: Of the loader.

    Attributes:
        board: float64 (num_workers, 3); each worker writes its own row, so no lock is needed.
    """

    def __init__(self, samples: ShardSet, augment: PairedAugment, num_workers: int) -> None:
        super().__init__(samples, augment=augment, shuffle=True)
        self.board: torch.Tensor = torch.zeros(num_workers, 3, dtype=torch.float64)
        self.board.share_memory_()  # type: ignore[no-untyped-call]

    def __getitems__(self, indices: Sequence[int | Position]) -> list[dict[str, Any]] | ViewBatch:
        """Read the samples of a batch, and record the time of the first request and the bytes in flight."""
        worker = get_worker_info()
        mine = self.board[worker.id if worker else 0]
        if mine[BEGAN] == 0:
            mine[BEGAN], mine[PID] = time.monotonic(), os.getpid()
        items = super().__getitems__(indices)
        if self._read_ahead is not None:
            mine[IN_FLIGHT] = max(float(mine[IN_FLIGHT]), self._read_ahead.bytes_in_flight)
        return items


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """The figures of an epoch, from the first request to a worker on: the start of the workers is before it.

    Attributes:
        samples: Number of samples received.
        seconds: From the first request until the consumer's step on the last batch ended.
        first_batch_s: From the first request until the first batch was received.
        waits: Seconds in `next(loader)`, for the second and each later batch. All of it counts as waiting.
        keys: Of the samples, in order.
        checksums: crc32c of image, depth and valid of each batch; empty unless requested.
        in_flight: Most bytes that one worker had requested and not yet used, at the end of any batch.
        pss: Proportional set size of the workers at the end, bytes.
        cpu_s: CPU seconds of the workers; they include the start of workers that this epoch started.
    """

    samples: int
    seconds: float
    first_batch_s: float
    waits: tuple[float, ...]
    keys: tuple[str, ...]
    checksums: tuple[int, ...]
    in_flight: int
    pss: int
    cpu_s: float

    @property
    def rate(self) -> float:
        """Return samples a second."""
        return self.samples / self.seconds

    @property
    def batch_s(self) -> float:
        """Return seconds a batch, after the first."""
        return (self.seconds - self.first_batch_s) / len(self.waits)

    @property
    def wait_share(self) -> float:
        """Return the share of the time after the first batch that was spent waiting."""
        return sum(self.waits) / (self.seconds - self.first_batch_s)

    @property
    def wait_share_with_first(self) -> float:
        """Return the share of the whole time that was spent waiting, the wait for the first batch included."""
        return (self.first_batch_s + sum(self.waits)) / self.seconds


class Watched:
    """A loader of a set with workers from a fork server, to be run and measured epoch by epoch.

    Args:
        samples: The set.
        batch_size: Of the loader.
        num_workers: At least one.
        crop_px: Side of the crops.
    """

    def __init__(self, samples: ShardSet, batch_size: int, num_workers: int, crop_px: int) -> None:
        augment = PairedAugment(height=crop_px, width=crop_px)
        dataset = WatchedDataset(samples, augment, num_workers)
        self._board = dataset.board
        self._sampler = TrainSampler(len(samples), batch_size, dataset.prepare)
        loading = Loading(batch_size=batch_size, num_workers=num_workers, start_method="forkserver", timeout_s=300)
        self._loader: DataLoader[Any] = build_loader(dataset, self._sampler, loading)

    def run(self, epoch: int, step_s: float = 0.0, check: bool = False) -> EpochFigures:
        """Consume an epoch.

        Args:
            epoch: Its number.
            step_s: Seconds of the consumer's step for a batch; it sleeps, like a process that waits for its GPU.
            check: Whether to compute checksums of the pixels, which takes CPU time.
        """
        self._sampler.set_epoch(epoch)
        self._board[:, [BEGAN, IN_FLIGHT]] = 0  # not PID: workers persist
        cpu_s = sum(map(cpu_seconds, self.pids()))
        arrivals, waits, keys, checksums = [], [], [], []
        batches = iter(self._loader)
        for _ in range(len(self._loader)):
            asked = time.monotonic()
            batch = next(batches)
            arrivals.append(time.monotonic())
            waits.append(arrivals[-1] - asked)
            keys += batch["key"]
            checksums += [checksum(batch)] if check else []
            batch = None  # frees its memory during the step, as a training loop does
            time.sleep(max(0.0, arrivals[-1] + step_s - time.monotonic()))
        # The epoch begins when the first worker gets its first request; 0 is a worker without one.
        ended, began = time.monotonic(), float(self._board[:, BEGAN][self._board[:, BEGAN] > 0].min())
        del batches
        return EpochFigures(
            samples=len(keys),
            seconds=ended - began,
            first_batch_s=arrivals[0] - began,
            waits=tuple(waits[1:]),
            keys=tuple(keys),
            checksums=tuple(checksums),
            in_flight=int(self._board[:, IN_FLIGHT].max()),
            pss=sum(map(pss_bytes, self.pids())),
            cpu_s=sum(map(cpu_seconds, self.pids())) - cpu_s,
        )

    def pids(self) -> list[int]:
        """Return the process ids of the workers that have been asked for a batch."""
        return [int(pid) for pid in self._board[:, PID] if pid]


def checksum(batch: dict[str, Any]) -> int:
    """Compute the crc32c of image, depth and valid of a batch."""
    value = 0
    for name in ("image", "depth", "valid"):
        value = google_crc32c.extend(value, batch[name].numpy().tobytes())
    return value


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process (Linux): memory that processes share is divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process (Linux)."""
    stat = read_stat(pid)
    assert stat is not None
    return stat.cpu_s
