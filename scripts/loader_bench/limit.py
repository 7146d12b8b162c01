"""Bare loops: a process a core decodes and warps what it has in memory, into a batch that it has from the start."""

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import cv2

from loader_bench.engine import Engine
from loader_bench.epochs import Meter
from loader_bench.task import Epoch
from sharding.machine.heap import keep_freed_memory
from training.loading.view import ViewArrays

MOST_HELD = 128
"""Samples in memory: many times what a processor's cache holds."""


@dataclass(frozen=True, kw_only=True)
class _Loop:
    """What a process of the pool does."""

    engine: Engine
    views: Sequence[Mapping[str, Any]]
    batch: Sequence[ViewArrays]
    together: Barrier

    def run(self) -> tuple[float, float]:
        """Fill the batch over and over; return when that began and ended, on the clock of all processes."""
        self.together.wait()
        begin = time.perf_counter()
        for number, view in enumerate(self.views):
            self.engine.fill(view, self.batch[number % len(self.batch)])
        return begin, time.perf_counter()


_LOOP: list[_Loop] = []  # of a process of the pool


def _start(loop: _Loop) -> None:
    cv2.setNumThreads(0)
    keep_freed_memory()
    for into in loop.batch:
        into.blank()  # maps its pages: they are this process's own
    _LOOP.append(loop)


def _run(_: int) -> tuple[float, float]:
    return _LOOP[0].run()


def bare_loop(engine: Engine, side: int, batch_size: int) -> Callable[[], Epoch]:
    """Start a process for each core that this one may use; return a function that runs them all once over the views."""
    cores = len(os.sched_getaffinity(0))
    views = [engine[row] for row in range(min(len(engine), MOST_HELD))]
    context = multiprocessing.get_context("fork")
    batch = [ViewArrays.empty(side, side) for _ in range(batch_size)]
    loop = _Loop(engine=engine, views=views, batch=batch, together=context.Barrier(cores))
    pool = context.Pool(cores, _start, (loop,))

    def run() -> Epoch:
        meter = Meter()
        times = pool.map(_run, range(cores), chunksize=1)  # one each: none begins before all have
        wall_s = max(end for _, end in times) - min(begin for begin, _ in times)
        return meter.epoch(cores * len(views), wall_s)

    return run
