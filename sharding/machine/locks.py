"""Advisory locks on files (flock), which the kernel releases however a process ends. No call here waits for one."""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_while(owner: object, path: Path) -> int:
    """Open a file, created if missing, and return its descriptor, which is closed when `owner` is collected."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    weakref.finalize(owner, os.close, file)
    return file


def try_lock(file: int, *, shared: bool) -> bool:
    """Take the lock of an open file, or change the kind of the one held; return whether it is held now.

    A change from shared to exclusive or back is not atomic: the old lock is released first (flock(2)).

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def tried_alone(path: Path) -> Iterator[bool]:
    """Try to hold the exclusive lock of a file during the block; yields whether it is held."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(file, shared=False)
    finally:
        os.close(file)  # releases the lock
