"""Work in several processes: results as they come, or in the order of the jobs."""

import os
import queue
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from sharding.machine.pool import WorkerPool

J = TypeVar("J")
R = TypeVar("R")


def count_workers(asked: int, jobs: int) -> int:
    """Return how many processes to use: as many as asked for (0: one per core), at most one per job, at least one."""
    return max(1, min(asked or os.cpu_count() or 1, jobs))


def run_jobs(function: Callable[[J], R], jobs: Sequence[J], workers: int) -> Generator[R, None, None]:
    """Yield `function(job)` of each job, in the order in which they end.

    An error of a job is raised here and cancels all others at once; so does closing the iterator.

    Args:
        function: At the top level of a module, because it is pickled by name.
        jobs: Picklable.
        workers: Number of processes; 1 does the work in this one.

    Raises:
        DataError: A process was killed, or cannot be started.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    done: queue.SimpleQueue[Future[R]] = queue.SimpleQueue()
    with WorkerPool(workers) as pool:
        for job in jobs:
            pool.submit(function, job).add_done_callback(done.put)
        # Not `as_completed`: an interrupt while it takes the locks of all futures would leave some of them taken.
        for _ in jobs:
            yield done.get().result()


def map_ahead(
    submit: Callable[[J], Future[R]], jobs: Iterable[J], weigh: Callable[[J], int], most: int
) -> Generator[tuple[J, R], None, None]:
    """Yield each job with its result, in the order of the jobs.

    Args:
        submit: Submits a job to a pool.
        jobs: Taken one by one, as `most` allows.
        weigh: Weight of a job, in bytes for example.
        most: Maximum weight of the jobs that were submitted and not yielded; one more job may exceed it.
    """
    waiting: deque[tuple[J, Future[R]]] = deque()
    taken = 0
    for job in jobs:
        waiting.append((job, submit(job)))
        taken += weigh(job)
        # Beyond the limit wait for the oldest job, even if later ones are done: the order is that of the jobs.
        while waiting and (taken > most or waiting[0][1].done()):
            taken -= weigh(waiting[0][0])
            yield _take(waiting)
    while waiting:
        yield _take(waiting)


def _take(waiting: "deque[tuple[J, Future[R]]]") -> tuple[J, R]:
    job, future = waiting.popleft()
    return job, future.result()
