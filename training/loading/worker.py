"""A loader worker's life: it lasts as long as its trainer, and not a signal less; and what its errors say to a person.

Schedulers and terminals signal every process of a job. The trainer answers by finishing its step and saving, for which
it needs its workers.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess

from sharding.machine.heap import keep_freed_memory, one_heap_in_children
from training.loading.augment import one_thread_per_worker

_JOB_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
_LOOK_EVERY_S = 1.0  # for a trainer that is gone


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
