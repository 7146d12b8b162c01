"""Threads that fetch while the main thread of a loader worker decodes."""

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

_END_S = 2.0  # how long a process that ends waits for calls that have begun


class Fetchers(Generic[T]):
    """A fixed number of threads that make calls, first come first served.

    Unlike those of a ThreadPoolExecutor they hold up no process that ends: calls that have not begun are forgotten, and
    one that hangs is left behind.

    Args:
        count: Number of threads.
    """

    def __init__(self, count: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=_serve, args=(self._calls,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        weakref.finalize(self, _stop, os.getpid(), self._calls, threads)

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Have a thread make `call`; the future gives its result or raises its error, and can be cancelled before."""
        future: Future[T] = Future()
        self._calls.put((call, future))
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
        del item, call, future  # an idle thread holds no bytes


def _stop(pid: int, calls: "queue.SimpleQueue[Any]", threads: list[threading.Thread]) -> None:
    """Forget what has not begun, and wait a little for what has: a network client must not outlive its interpreter."""
    if os.getpid() != pid:
        return  # a forked child has none of the threads
    with contextlib.suppress(queue.Empty):
        while True:
            calls.get_nowait()
    for _ in threads:
        calls.put(None)
    deadline = time.monotonic() + _END_S
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
