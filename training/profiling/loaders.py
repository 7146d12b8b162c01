"""A DataLoader with workers, against one process that makes the same batches; and what it costs to take them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from sharding.progress import track
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler
from training.loading.shared_blocks import as_worker
from training.profiling.stages import free, open_dataset
from training.profiling.stopwatch import Timing, time_once
from training.profiling.work import Turn, Work

_PAGE = 4096  # bytes


@dataclass(frozen=True, kw_only=True)
class LoaderTimes:
    """Times of loaders, turn by turn, by wall clock unless something else is said.

    Attributes:
        alone: One process that makes batches as a worker does, in stored bytes.
        workers: A DataLoader with workers, in stored bytes.
        consumer: CPU time of the thread that takes the batches of `workers`, in bytes of the batches.
    """

    alone: Timing
    workers: Timing
    consumer: Timing


class TurnSampler(EvalSampler):
    """The positions of a turn: the first ones of epoch 0, then those of epoch 1, and so on."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(turn.epoch_samples, turn.batch_size)
        self._epochs = turn.epochs

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((epoch, place) for epoch in range(self._epochs) for _, place in super(TurnSampler, self).__iter__())

    def __len__(self) -> int:
        return self._epochs * super().__len__()


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What was taken of a loader: number of samples, and bytes of their batches."""

    samples: int
    bytes: int


def time_loaders(work: Work, repeats: int, num_workers: int) -> LoaderTimes:
    """Time a loader in this process, and one with worker processes.

    They take turns, so that other load of the machine affects both. A first turn, not timed, starts the workers.
    """
    turn = work.turn(num_workers)
    workers = _build(work, TurnSampler(turn), num_workers)
    alone = _build(work, EvalSampler(work.samples, work.batch_size), 0)
    spent = list[tuple[float, float, float]]()  # of a turn: alone, with workers, and CPU of this thread in the latter
    with as_worker():
        taken, taken_alone = take_all(workers), take_all(alone)  # the turn that is not timed
        for _ in track(range(repeats), total=repeats, unit="turns", label="loaders"):
            alone_s = time_once(partial(take_all, alone))[0]
            # The workers' CPU time is not known: that of a process does not include its children's.
            began = time.thread_time()
            workers_s = time_once(partial(take_all, workers))[0]
            spent.append((alone_s, workers_s, time.thread_time() - began))
    seconds = [tuple(column) for column in zip(*spent, strict=True)]  # a tuple for each of the three
    return LoaderTimes(
        alone=Timing(samples=taken_alone.samples, bytes=work.stored_bytes, seconds=seconds[0]),
        workers=Timing(samples=taken.samples, bytes=work.turn_bytes(turn), seconds=seconds[1]),
        consumer=Timing(samples=taken.samples, bytes=taken.bytes, seconds=seconds[2]),
    )


def _build(work: Work, sampler: EvalSampler, num_workers: int) -> "DataLoader[Any]":
    return build_loader(open_dataset(work), sampler, Loading(batch_size=work.batch_size, num_workers=num_workers))


def take_all(loader: "DataLoader[Any]") -> Taken:
    """Take every batch, look at each page of its memory, and drop it."""
    samples = size = 0
    for batch in loader:
        samples += len(batch["key"])
        size += sum(_look_at(part) for part in batch.values() if isinstance(part, Tensor))
        free(batch)
    return Taken(samples=samples, bytes=size)


def _look_at(tensor: Tensor) -> int:
    """Read a byte of each page of a tensor, which maps the page into this process; return the bytes of the tensor."""
    seen = tensor.numpy().reshape(-1).view(np.uint8)  # of a contiguous tensor: no copy
    seen[::_PAGE].max(initial=0)
    return seen.nbytes
