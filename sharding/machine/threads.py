"""Fetcher threads that do not delay the end of a process."""

import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")

END_S = 2.0
"""Seconds that a process that ends waits for running calls."""


class Fetchers(Generic[T]):
    """A thread pool that makes calls in the order of submission.

    Unlike a ThreadPoolExecutor it does not delay the end of the process: calls that have not begun are cancelled, and
    one that hangs is abandoned.

    Args:
        count: Maximum number of threads; each is started by a call.
    """

    def __init__(self, count: int) -> None:
        self._count, self._beginning = count, threading.Lock()
        # None ends a thread.
        self._calls: queue.SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Runs when the last reference goes, and at the latest when the interpreter exits.
        weakref.finalize(self, _stop, os.getpid(), self._calls, self._threads)

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Queue `call` for a thread; the future gives its result or error, and can be cancelled until it begins."""
        future: Future[T] = Future()
        self._calls.put((call, future))
        with self._beginning:
            if len(self._threads) < self._count:
                self._threads.append(threading.Thread(target=_serve, args=(self._calls,), daemon=True))
                self._threads[-1].start()
        return future


def _serve(calls: "queue.SimpleQueue[Any]") -> None:
    while (item := calls.get()) is not None:
        call, future = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        del item, call, future  # an idle thread must not keep the result in memory


def _stop(pid: int, calls: "queue.SimpleQueue[Any]", threads: list[threading.Thread]) -> None:
    """Cancel queued calls and wait `END_S` for running ones: a network client must not outlive its interpreter."""
    if os.getpid() != pid:
        return  # a forked child has none of the threads
    with contextlib.suppress(queue.Empty):
        while (item := calls.get_nowait()) is not None:
            item[1].cancel()
    for _ in threads:
        calls.put(None)  # one for each thread to take
    deadline = time.monotonic() + END_S
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
