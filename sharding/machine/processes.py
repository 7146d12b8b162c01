"""Worker processes: results in order or as they come, a prompt end, and no process left behind.

Each worker watches a pipe whose write end only this process holds. It ends when that end is closed: because the work
was cancelled, or because this process was killed.
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
from sharding.machine.main_guard import check_main_guard
from sharding.machine.signals import block_sigint
from sharding.machine.sockets import shorten_socket_paths

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
        DataError: A process was killed.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    with open_pool(workers, function.__module__) as pool:
        with block_sigint():  # workers are started here; one interrupted half-way would print a traceback
            futures = [pool.submit(function, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()


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


@contextmanager
def open_pool(workers: int, module: str) -> Iterator[Executor]:
    """Start a process pool; the end of the block cancels its jobs and ends the processes at once.

    Args:
        workers: Number of processes.
        module: Imported once, in the server that all of them are forked from.

    Raises:
        DataError: A process was killed.
    """
    check_main_guard()
    shorten_socket_paths()
    context = multiprocessing.get_context("forkserver")
    _start_server(context, module)
    read_end, write_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(read_end,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was killed, usually because memory ran out; finished work is kept: "
            "run the same command again, with fewer --workers if it was memory"
        ) from error
    finally:
        write_end.close()  # first: it ends workers in the middle of a job, which shutdown would wait for
        pool.shutdown(wait=True, cancel_futures=True)
        read_end.close()


def _start_server(context: ForkServerContext, module: str) -> None:
    """Start the process that workers are forked from, and wait until it has imported `module`."""
    context.set_forkserver_preload([module])
    resource_tracker.ensure_running()  # outside the block: starting it unblocks SIGINT
    with block_sigint():
        forkserver.ensure_running()
    first = context.Process(target=_do_nothing)  # forked only after the import: joining it waits for that
    first.start()
    first.join()


def _do_nothing() -> None:
    pass


def _begin(lifeline: Connection) -> None:
    """Ignore SIGINT, which the parent handles (an older server may not have it blocked), and end with the parent."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()  # nothing is ever sent: it returns when the write end is closed
    except (EOFError, OSError):
        os._exit(1)
