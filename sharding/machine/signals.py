"""Block SIGINT (Ctrl-C) for a moment in which an interrupt would do harm."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def block_sigint() -> Iterator[None]:
    """Block SIGINT until the end of the block, where a pending one is delivered.

    Only this thread blocks it; threads and processes that are started in the block inherit the mask.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
