"""Exclude other processes from a folder: by a lock of the kernel, or by a lease file where the file system has none."""

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sharding.errors import UsageError
from sharding.machine.lease import Lease
from sharding.machine.locks import try_lock

_TRIES, _TRY_EVERY_S = 10, 0.1


@contextmanager
def exclusive(folder: Path, busy: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a folder, which is created if missing, for this process during the block.

    The lock ends with the process, however it ends. Some network file systems (NFS, Lustre) have no locks, or none on a
    folder: then a lease file is held, which another process may take over some time after this one was killed.

    Args:
        folder: The folder.
        busy: Message if another process has it.
        say: Prints a line; told where there are no locks.

    Raises:
        UsageError: Another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself is locked: no lock file is left behind. Programs that are started do not inherit the descriptor
    # (O_CLOEXEC), and a forked child closes it, so that a worker which outlives this process does not keep the lock.
    held = _Descriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    try:
        if _lock(held.number, busy):
            yield
            return
        say(f"{folder}: this file system has no locks; a lease file keeps other runs out")
        with Lease(folder, say).hold(busy):
            yield
    finally:
        held.close()


def check_free(folder: Path, busy: str) -> None:
    """Check that no other process holds a folder by a lock; it may be taken a moment later.

    Raises:
        UsageError: One does.
    """
    held = _Descriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    try:
        _lock(held.number, busy)
    finally:
        held.close()


class _Descriptor:
    """A descriptor of this process that its forked children do not keep."""

    def __init__(self, number: int) -> None:
        self.number, self._open = number, True
        _HELD.add(self)

    def close(self) -> None:
        """Close it, once."""
        if self._open:
            self._open = False
            os.close(self.number)


_HELD: "weakref.WeakSet[_Descriptor]" = weakref.WeakSet()


def _close_all() -> None:
    for held in list(_HELD):
        held.close()


os.register_at_fork(after_in_child=_close_all)


def _lock(descriptor: int, busy: str) -> bool:
    """Lock an open folder; return False if the file system has no such locks.

    Raises:
        UsageError: Another process holds it.
    """
    for _ in range(_TRIES):
        try:
            if try_lock(descriptor, shared=False):
                return True
        except OSError:  # ENOLCK, EOPNOTSUPP; NFS: EBADF, as it emulates the lock by one that needs a writable file
            return False
        time.sleep(_TRY_EVERY_S)  # a child of a process that was killed may not have closed it yet
    raise UsageError(busy)
