"""Disk usage of a folder that many processes write to: a number in a file, changed under a lock.

    bytes 0..7    int64, little-endian: bytes stored or reserved in the folder
    bytes 8..15   int64, little-endian: 1 if nothing more is to be added because a write failed, else 0

Bytes are reserved before a file is written, and released after it is removed. So a process that is killed leaves the
number too high, never too low: what it reserved and did not write is counted until the folder is measured again.
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
"""A file takes whole blocks of this many bytes on the disk."""

WAIT_SECONDS = 300.0
"""Longest wait for a lock. Others hold it for a few file operations, or while they measure the folder."""

_RECORD = struct.Struct("<qq")


@dataclass(kw_only=True)
class Account:
    """The content of the file, to be changed under the lock; written back before the lock is released.

    Attributes:
        bytes: Bytes stored or reserved.
        stopped: Whether nothing more is to be added, because a write failed.
    """

    bytes: int = 0
    stopped: bool = False


class Usage:
    """The file with the number, and its lock.

    `flock` belongs to an open file, so each use opens the file again: that makes threads of one process exclude each
    other, too. The kernel releases the lock of a killed process.

    Args:
        path: The file; created when it is first used.
        wait_seconds: Longest wait for the lock.
    """

    def __init__(self, path: Path, wait_seconds: float = WAIT_SECONDS) -> None:
        self._path, self._wait_seconds = path, wait_seconds

    @contextmanager
    def locked(self) -> Iterator[Account]:
        """Hold the lock for the block, and store the account as the block leaves it, also when the block fails.

        Raises:
            OSError: The file cannot be used, or (TimeoutError) the lock was not available in time.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._lock(file)
            found = os.pread(file, _RECORD.size, 0)
            account = Account()
            if len(found) == _RECORD.size:  # a new file is empty: nothing stored
                used, stopped = _RECORD.unpack(found)
                account = Account(bytes=used, stopped=bool(stopped))
            try:
                yield account
            finally:
                if (written := _RECORD.pack(account.bytes, account.stopped)) != found:
                    os.pwrite(file, written, 0)
        finally:
            os.close(file)  # releases the lock

    def _lock(self, file: int) -> None:
        until = time.monotonic() + self._wait_seconds
        while not try_lock(file, shared=False):
            if time.monotonic() > until:
                text = f"waited {self._wait_seconds:g} s for the lock that another process holds"
                raise TimeoutError(errno.ETIMEDOUT, text, str(self._path))
            time.sleep(0.001)  # poll: a blocking `flock` has no timeout


def cost(length: int) -> int:
    """Return the bytes on the disk that a file of `length` bytes takes: `length` rounded up to whole blocks."""
    return -(-length // DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES


def size_of(path: Path) -> int:
    """Return the length of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def remove_file(path: Path) -> int:
    """Remove a file, if there is one; return the bytes on the disk that it took."""
    taken = cost(size_of(path))  # callers hold the lock: the file does not change in between
    path.unlink(missing_ok=True)
    return taken


def bytes_below(folder: Path) -> int:
    """Sum the bytes on the disk that all files below a folder take; folders themselves are not counted."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += bytes_below(Path(entry.path))
            else:
                total += cost(entry.stat(follow_symlinks=False).st_size)
    return total
