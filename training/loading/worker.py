"""Lifetime of a loader worker: it ignores the job's signals and ends with its trainer, however that ends.

Schedulers and terminals signal every process of a job. The trainer responds by finishing its step and saving, for which
it needs its workers.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue

from sharding.machine.heap import keep_freed_memory, one_heap_in_children
from sharding.machine.safe_path import forget_safe_path, safe_path_in_children
from training.launch.whereabouts import Whereabouts, leave
from training.loading.augment import one_thread_per_worker

_JOB_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
_STDERR = 2
_LOOK_EVERY_S = 1.0  # how often a worker checks that its trainer still runs


def start_worker(worker_id: int, whereabouts: Whereabouts | None = None) -> None:
    """Set up a worker (`DataLoader(worker_init_fn=...)`): freed memory is reused, cv2 has one thread, signals ignored.

    SIGINT and SIGUSR1 do nothing, SIGTERM nothing unless the trainer sends it. The worker ends when the trainer tells
    it to, or is gone, even if killed: within about a second, also in the middle of a sample.

    Args:
        worker_id: The DataLoader passes it; passed on to `one_thread_per_worker`.
        whereabouts: Where the trainer finds what this worker is doing, should it be killed.
    """
    if whereabouts is not None:
        whereabouts.enter(worker_id)
    one_thread_per_worker(worker_id)
    keep_freed_memory()
    forget_safe_path()
    _end_if_a_batch_cannot_be_sent(worker_id)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    trainer = multiprocessing.parent_process()
    if trainer is not None and hasattr(signal, "sigtimedwait"):  # macOS has none: SIGTERM ends a worker there
        # Blocked in all threads: `_watch` receives it with sigtimedwait, which reports the sender (a handler cannot).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_watch, args=(trainer, os.getppid()), daemon=True).start()


def _end_if_a_batch_cannot_be_sent(worker_id: int) -> None:
    """End this process when the thread that sends its batches fails, for which the trainer would wait for ever.

    `multiprocessing.Queue` calls the hook there, and by default goes on with the next batch.
    """

    def end(error: BaseException, batch: object) -> None:
        os.write(_STDERR, f"loader worker {worker_id}: a batch cannot be sent: {error!r}\n".encode())
        os._exit(1)

    Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]


def _watch(trainer: BaseProcess, parent: int) -> None:
    """End this process when the trainer tells it to (SIGTERM) or is gone.

    `trainer.is_alive` checks whether the trainer's end of a pipe is closed, but workers that were forked later keep it
    open too: so the parent process is checked as well. It is the trainer, or a fork server, which lives as long as its
    workers.
    """
    while os.getppid() == parent and trainer.is_alive():
        taken = signal.sigtimedwait({signal.SIGTERM}, _LOOK_EVERY_S)
        if taken is not None and taken.si_pid == trainer.pid:
            break
    leave()  # it is no sample's fault
    os._exit(0)  # from a thread, sys.exit would end the thread alone


def start_fork_server() -> None:
    """Start the fork server, if it does not run yet, so that signals to the job do not end it.

    The threads of its children share one heap.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_SIGNALS)
    try:
        with safe_path_in_children(), one_heap_in_children():
            resource_tracker.ensure_running()  # leaves SIGINT and SIGTERM unblocked
            signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_SIGNALS)
            forkserver.ensure_running()  # a new process inherits the blocked signals
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
