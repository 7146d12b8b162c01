"""A pool of worker processes whose end is bounded, whatever happens to them.

Each worker has a socket of its own, of which only this process holds one end and only the worker the other: a worker
that ends, also in the middle of a result, is the end of its stream, and so is the end of this process for a worker.
A thread for each worker sends it a job, waits for the result, and takes the next job.
"""

import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from multiprocessing import spawn
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

from sharding.errors import DataError
from sharding.machine.signals import hold_signals
from sharding.machine.worker import JobTraceback

R = TypeVar("R")

END_S = 10.0
"""Seconds that killed workers have to end; one that hangs in the kernel, in a lost mount for example, is left to it."""

_ENDED_S = 1.0
"""Seconds from the end of a worker's stream to that of its process."""

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from sharding.machine.worker import serve; serve(int(sys.argv[1]))"

_Task = tuple[Future[Any], tuple[Any, ...]]


class WorkerPool(Executor):
    """Worker processes, each started when there is a job for it.

    A worker that dies breaks the pool: its job, and all that wait, fail with a DataError that tells how it ended.

    Args:
        workers: Maximum number of processes.
    """

    def __init__(self, workers: int) -> None:
        self._most = workers
        self._workers: list[_Worker] = []
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock, self._open_tasks = threading.Lock(), 0
        self._error: DataError | None = None

    def submit(self, function: Callable[..., R], /, *arguments: Any, **options: Any) -> Future[R]:
        """Queue `function(*arguments, **options)`; the function is pickled by its name.

        Raises:
            DataError: A worker died, or none can be started.
        """
        future: Future[R] = Future()
        with self._lock:
            if self._error is not None:
                raise self._error
            self._open_tasks += 1
            starts = len(self._workers) < min(self._most, self._open_tasks)
        if starts:
            with hold_signals():  # a process that is not on the list yet would be left behind
                self._workers.append(_Worker(self._attend))
        self._tasks.put((future, (function, arguments, options)))
        return future

    def _attend(self, worker: "_Worker") -> None:
        """Give one worker its jobs, in a thread of its own."""
        while (task := self._tasks.get()) is not None:
            future, job = task
            if future.set_running_or_notify_cancel():
                try:
                    answer = worker.ask(job)
                except (EOFError, OSError, MemoryError):  # what is left of the stream cannot be read any more
                    self._break(worker.explain_end(), future)
                    return
                _settle(future, answer)
            with self._lock:
                self._open_tasks -= 1

    def _break(self, error: DataError, failed: Future[Any]) -> None:
        with self._lock:
            self._error = self._error or error
        self._drop_waiting()
        failed.set_exception(self._error)

    def _drop_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                if (task := self._tasks.get_nowait()) is not None and task[0].set_running_or_notify_cancel():
                    task[0].set_exception(self._error or DataError("the work was cancelled"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Kill the workers, whatever they are doing, and wait for their end, at most `END_S`."""
        with hold_signals():
            with self._lock:
                self._error = self._error or DataError("the work was cancelled")
            for worker in self._workers:
                worker.process.kill()
            self._drop_waiting()
            for _ in self._workers:
                self._tasks.put(None)
            until = time.monotonic() + END_S
            for worker in self._workers:
                worker.end(until)


class _Worker:
    """A worker process, and the thread that attends to it."""

    def __init__(self, attend: "Callable[[_Worker], None]") -> None:
        self._connection, other = Pipe()
        try:
            self.process = _start(other)
        except OSError as error:
            self._connection.close()
            raise DataError(
                f"a worker process cannot be started: {error.strerror}; run the same command again with fewer --workers"
            ) from error
        finally:
            other.close()  # at once: as long as it is open here, the end of the worker is not seen
        self._thread = threading.Thread(target=attend, args=(self,), daemon=True, name="worker")
        self._thread.start()

    def ask(self, job: tuple[Any, ...]) -> tuple[bool, Any]:
        """Send a job and wait for its answer: whether it succeeded, and the result or error.

        Raises:
            EOFError: The worker ended.
            OSError: It ended before it had all of the job.
            MemoryError: There is no room for the answer.
        """
        try:
            packed = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # what an object raises that cannot be pickled
            return False, (error, "")
        self._connection.send_bytes(packed)
        received = self._connection.recv_bytes()
        try:
            answer: tuple[bool, Any] = pickle.loads(received)
        except Exception as error:
            return False, (error, "")
        return answer

    def explain_end(self) -> DataError:
        """End a worker whose answer did not come, and return the error that tells how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_ENDED_S)  # it has ended already, unless its answer was too large
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        status = self.process.returncode or 0
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        why = ", usually because memory ran out" if status == -signal.SIGKILL else ""
        return DataError(
            f"a worker process {how}{why}; finished work is kept: run the same command again, with fewer --workers if "
            "it was memory"
        )

    def end(self, until: float) -> None:
        """Wait for the end of the killed process and of its thread, at most until then (`time.monotonic`)."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(until - time.monotonic(), 0))
        self._thread.join(max(until - time.monotonic(), 0))
        if not self._thread.is_alive():
            self._connection.close()


def _start(connection: Connection) -> "subprocess.Popen[bytes]":
    number = connection.fileno()
    # -P: with "-c" alone, Python would import what it needs to start from the current folder, which may be anybody's.
    command = [spawn.get_executable(), "-P", "-c", _PROGRAM, str(number), *sys.path]
    return subprocess.Popen(command, pass_fds=(number,), stdin=subprocess.DEVNULL)


def _settle(future: Future[Any], answer: tuple[bool, Any]) -> None:
    succeeded, value = answer
    if succeeded:
        future.set_result(value)
    else:
        error, text = value
        error.__cause__ = JobTraceback(text) if text else None
        future.set_exception(error)
