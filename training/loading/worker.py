"""A loader worker's life: it lasts as long as its trainer, and not a signal less; and what its errors say to a person.

Schedulers and terminals signal every process of a job. The trainer answers by finishing its step and saving, for which
it needs its workers.
"""

import multiprocessing
import os
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess

from sharding.errors import DataError, UsageError
from sharding.machine.heap import keep_freed_memory, one_heap_in_children
from training.loading.augment import one_thread_per_worker

_JOB_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
_LOOK_EVERY_S = 1.0  # for a trainer that is gone

_CAUGHT = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)\.\nOriginal ")
_DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(?:exited unexpectedly(?: with (exit code \d+))?|is killed by (signal: [^.]+)\.)"
)


def start_worker(worker_id: int) -> None:
    """Begin a worker (`DataLoader(worker_init_fn=...)`): memory kept, one thread for cv2, deaf to the job's signals.

    SIGINT and SIGUSR1 do nothing, SIGTERM nothing unless the trainer sends it. The worker ends when the trainer says
    so, or is gone, even if killed: within about a second, also in the middle of a sample.

    Args:
        worker_id: Not used but for cv2; the DataLoader passes it.
    """
    one_thread_per_worker(worker_id)
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    trainer = multiprocessing.parent_process()
    if trainer is not None and hasattr(signal, "sigtimedwait"):  # macOS has none: SIGTERM ends a worker there
        # Blocked here, it is the watching thread that takes it, and learns who sent it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_watch, args=(trainer, os.getppid()), daemon=True).start()


def _watch(trainer: BaseProcess, parent: int) -> None:
    """End this process when the trainer tells it to (SIGTERM) or is gone.

    The pipe to the trainer closes with it, but workers that were forked later hold it too: so their common parent is
    looked at as well. It is the trainer, or a fork server, which lives as long as its workers.
    """
    while os.getppid() == parent and trainer.is_alive():
        taken = signal.sigtimedwait({signal.SIGTERM}, _LOOK_EVERY_S)
        if taken is not None and taken.si_pid == trainer.pid:
            break
    os._exit(0)


def start_fork_server() -> None:
    """Start the process that makes workers, if it does not run yet, so that signals to the job do not end it.

    The threads of its children share one heap.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_SIGNALS)
    try:
        resource_tracker.ensure_running()  # lets some of the signals through again
        signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_SIGNALS)
        with one_heap_in_children():
            forkserver.ensure_running()  # a new process blocks what its maker blocks
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def plain_message(error: BaseException) -> str:
    """What a person needs of an error: of one that came out of a loader worker, its own text and the worker.

        Caught DataError in DataLoader worker process 0.
        Original Traceback (most recent call last):
          ...
        sharding.errors.DataError: shard ...                becomes       loader worker 0: shard ...

    The kind of error stays in front of the text if it is none of ours. A worker that died becomes a sentence with its
    process and the signal, if they are known, and what to try. Any other error is its own text.
    """
    text = _text(error)
    if caught := _CAUGHT.match(text):
        kind, worker = caught.groups()
        return f"loader worker {worker}: {_last_error(text, kind)}"
    return _death(error) or text


def _text(error: BaseException) -> str:
    # torch sends its text of a KeyError as an object whose repr is the text
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _last_error(text: str, kind: str) -> str:
    """The text below the last traceback."""
    *_, last = re.finditer(rf"^(?:[\w.]+\.)?{kind}(?:: |$)", text, re.MULTILINE)
    own = text[last.end() :].strip()
    return own if kind in (DataError.__name__, UsageError.__name__) else f"{kind}: {own}".removesuffix(": ")


def worker_died(error: BaseException) -> bool:
    """Whether this error, or one that led to it, is how torch tells that a loader worker is gone."""
    return any(_DIED.search(str(one)) or _broke_off(one) for one in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those it came of; what was raised first comes last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _broke_off(error: BaseException) -> bool:
    """Whether the connection over which a worker hands a batch over broke: seen before it is known that it died.

    With pinned memory a thread sees it, and torch tells of that thread alone.
    """
    if str(error) == "Pin memory thread exited unexpectedly":
        return True
    if not isinstance(error, EOFError | ConnectionError | FileNotFoundError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_try_get_data" for frame, _ in frames)


def _death(error: BaseException) -> str | None:
    """The sentence about a dead worker, if this error or one that led to it tells of one; the signal if any does."""
    if not worker_died(error):
        return None
    deaths = [found for one in causes(error) if (found := _DIED.search(str(one)))]
    who = f" (pid {deaths[0][1]})" if deaths else ""
    known = [found[3] or found[2] for found in deaths if found[3] or found[2]]
    return (
        f"a loader worker{who} was killed ({known[0] if known else 'signal not known'}); the usual "
        "cause is that memory ran out: run again with fewer --num-workers, or with more memory or /dev/shm"
    )
