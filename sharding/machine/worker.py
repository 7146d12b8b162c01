"""The program of a worker process: it does the jobs that come over a socket, one after another.

It ends when the other end of the socket is closed, in the middle of a job too: because the work was cancelled, or
because the process that started it was killed.
"""

import os
import pickle
import queue
import threading
import traceback
from multiprocessing.connection import Connection

from sharding.errors import DataError
from sharding.machine.heap import keep_freed_memory


class JobTraceback(Exception):
    """The traceback of an error in a worker process, as text: the cause of the error that arrives."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


_serving: list[bool] = []  # not empty in a worker process


def is_worker() -> bool:
    """Tell whether this is a worker process, whose parent is the process that has the work done."""
    return bool(_serving)


def serve(descriptor: int) -> None:
    """Do jobs until the socket is closed."""
    _serving.append(True)
    keep_freed_memory()
    connection, jobs = Connection(descriptor), queue.SimpleQueue[bytes]()
    threading.Thread(target=_receive, args=(connection, jobs), daemon=True).start()
    while True:
        answer = _do(jobs.get())
        try:
            connection.send_bytes(answer)
        except OSError:  # nobody waits for it
            os._exit(1)


def _receive(connection: Connection, jobs: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            jobs.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)  # at once: the main thread may be in the middle of a job


def _do(job: bytes) -> bytes:
    """Return the pickled result of a job, or its error."""
    try:
        function, arguments, options = pickle.loads(job)
        return pickle.dumps((True, function(*arguments, **options)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return _packed(error)


def _packed(error: Exception) -> bytes:
    text = traceback.format_exc()
    try:
        packed = pickle.dumps((False, (error, text)), pickle.HIGHEST_PROTOCOL)
        pickle.loads(packed)  # an error whose `__init__` takes other arguments than its `args` cannot be read
    except Exception:
        kind = DataError if isinstance(error, DataError) else RuntimeError
        packed = pickle.dumps((False, (kind(str(error)), text)), pickle.HIGHEST_PROTOCOL)
    return packed
