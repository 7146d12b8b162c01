"""How many bytes many processes keep together in one folder: a number in a file that is changed under a lock.

A process that is killed leaves the number too high, never too low: what it reserved and did not write stays counted
until somebody counts again.
"""

import errno
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sharding.machine.locks import try_lock

DISK_BLOCK_BYTES = 4096
"""A file takes whole blocks of this many bytes."""

WAIT_SECONDS = 300.0
"""Longest wait for a lock. Others hold it for a few file operations, or while they count what there is."""

_RECORD = struct.Struct("<qq")


@dataclass(kw_only=True)
class Account:
    """What the file says; changed under the lock, written back when it is given up.

    Attributes:
        bytes: Kept or reserved.
        stopped: Whether nothing more is to be added, because a write failed.
    """

    bytes: int = 0
    stopped: bool = False


class Usage:
    """The file with the number, and its lock.

    Each use opens the file anew, so the lock also keeps threads of one process apart. The kernel gives up the lock of
    a killed process.

    Args:
        path: The file; made when it is first used.
        wait_seconds: Longest wait for the lock.
    """

    def __init__(self, path: Path, wait_seconds: float = WAIT_SECONDS) -> None:
        self._path, self._wait_seconds = path, wait_seconds

    @contextmanager
    def locked(self) -> Iterator[Account]:
        """Hold the lock for the block, and keep what the block makes of the account, also when it fails.

        Raises:
            OSError: The file cannot be used, or (TimeoutError) the lock was not to be had in time.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._lock(file)
            found = os.pread(file, _RECORD.size, 0)
            account = Account()
            if len(found) == _RECORD.size:
                kept, stopped = _RECORD.unpack(found)
                account = Account(bytes=kept, stopped=bool(stopped))
            try:
                yield account
            finally:
                if (written := _RECORD.pack(account.bytes, account.stopped)) != found:
                    os.pwrite(file, written, 0)
        finally:
            os.close(file)

    def _lock(self, file: int) -> None:
        until = time.monotonic() + self._wait_seconds
        while not try_lock(file, shared=False):
            if time.monotonic() > until:
                text = f"waited {self._wait_seconds:g} s for the lock that another process holds"
                raise TimeoutError(errno.ETIMEDOUT, text, str(self._path))
            time.sleep(0.001)


def cost(length: int) -> int:
    """Bytes that a file of `length` bytes takes."""
    return -(-length // DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES


def size_of(path: Path) -> int:
    """Length of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def remove_file(path: Path) -> int:
    """Remove a file; return the bytes that it took."""
    taken = cost(size_of(path))
    path.unlink(missing_ok=True)
    return taken


def bytes_below(folder: Path) -> int:
    """Bytes that all files below a folder take; folders themselves are not counted."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += bytes_below(Path(entry.path))
            else:
                total += cost(entry.stat(follow_symlinks=False).st_size)
    return total
