"""Processes that do jobs: results as they come, a prompt end, and nobody left behind.

Each process watches a pipe that only this one can write to. It ends when the pipe does: because the work was called
off, or because this process was killed.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import TypeVar

from sharding.errors import DataError
from sharding.machine.heap import keep_freed_memory
from sharding.machine.signals import deaf_to_ctrl_c

J = TypeVar("J")
R = TypeVar("R")


def count_workers(asked: int, jobs: int) -> int:
    """Processes to use: as many as asked for (0: one a core), never more than there are jobs, at least one."""
    return max(1, min(asked or os.cpu_count() or 1, jobs))


def run_jobs(function: Callable[[J], R], jobs: Sequence[J], workers: int) -> Generator[R, None, None]:
    """Yield `function(job)` of each job, in the order in which they end.

    What a job raises is raised here, and calls off all others at once; so does closing the iterator.

    Args:
        function: Of a module, for it goes to other processes.
        jobs: Picklable.
        workers: Processes; 1 does the work in this one.

    Raises:
        DataError: A process was killed.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    with open_pool(workers, function.__module__) as pool:
        with deaf_to_ctrl_c():  # for a moment: a half started process would complain
            futures = [pool.submit(function, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()


def map_ahead(
    submit: Callable[[J], Future[R]], jobs: Iterable[J], weigh: Callable[[J], int], most: int
) -> Generator[tuple[J, R], None, None]:
    """Yield each job with its result, in the order of the jobs.

    Args:
        submit: Has a job done, by a pool.
        jobs: Taken as room allows.
        weigh: What a job weighs, bytes say.
        most: Weight of the jobs that are taken and not yielded, but for one.
    """
    waiting: deque[tuple[J, Future[R]]] = deque()
    taken = 0
    for job in jobs:
        waiting.append((job, submit(job)))
        taken += weigh(job)
        while waiting and (taken > most or waiting[0][1].done()):
            taken -= weigh(waiting[0][0])
            yield _take(waiting)
    while waiting:
        yield _take(waiting)


def _take(waiting: "deque[tuple[J, Future[R]]]") -> tuple[J, R]:
    job, future = waiting.popleft()
    return job, future.result()


@contextmanager
def open_pool(workers: int, module: str) -> Iterator[Executor]:
    """Start processes; at the end of the block what they have not begun is called off.

    Args:
        workers: Processes.
        module: Imported once for all of them.

    Raises:
        DataError: A process was killed.
    """
    context = multiprocessing.get_context("forkserver")
    _start_server(context, module)
    ours, theirs = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(ours,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was killed, and memory is the usual cause; what is finished is kept: "
            "run the same command again, with fewer --workers if it was memory"
        ) from error
    finally:
        theirs.close()
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()


def _start_server(context: ForkServerContext, module: str) -> None:
    """Start the process that workers are forked from, and wait until it has imported `module`."""
    context.set_forkserver_preload([module])
    resource_tracker.ensure_running()  # not below: it would let Ctrl-C through again
    with deaf_to_ctrl_c():
        forkserver.ensure_running()
    first = context.Process(target=_do_nothing)
    first.start()
    first.join()


def _do_nothing() -> None:
    pass


def _begin(lifeline: Connection) -> None:
    """Leave Ctrl-C to the process that asked for the work (the server may be older than it), and end when it goes."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
