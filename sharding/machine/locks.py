"""Locks on files, which the kernel gives up when a process ends in whatever way. Nobody waits in here."""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_while(owner: object, path: Path) -> int:
    """Open a file, made if there is none, for as long as `owner` lives."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    weakref.finalize(owner, os.close, file)
    return file


def try_lock(file: int, *, shared: bool) -> bool:
    """Take the lock of an open file, or change the one that is held, if nobody else's is in the way.

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
    """Try to hold the lock of a file alone for the block; yields whether that is so."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(file, shared=False)
    finally:
        os.close(file)
