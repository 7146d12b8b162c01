"""What was fetched from a remote store, kept in a folder of this machine that all its processes and jobs share.

    FOLDER/usage                              bytes kept or reserved, and the lock under which that changes
    FOLDER/users                              locked (shared) by each process that uses the cache
    FOLDER/unfinished/                        files that are being written
    FOLDER/sets/IDENTITY/in-use               locked (shared) by each process that uses the set
    FOLDER/sets/IDENTITY/SHARD.ranges/OFFSET  the bytes of the shard from OFFSET on, as many as were read at once

A set's folder is named after its content, so a set that was made again is another one. A file appears by rename, whole
or not at all; nothing is forced to the disk, for who reads compares checksums, and after a power cut a damaged file is
noticed as any other and fetched again.

The order of an epoch visits each sample once, so a cache that is smaller than its set must keep a stable part: what
came first stays as long as a process uses its set. Room is made only by removing sets that nobody uses, the one that
was used longest ago first.
"""

import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from sharding.errors import UsageError
from sharding.machine.locks import open_while, tried_alone, try_lock
from sharding.stores.cache_usage import (
    DISK_BLOCK_BYTES,
    WAIT_SECONDS,
    Account,
    Usage,
    bytes_below,
    cost,
    remove_file,
    size_of,
)
from sharding.stores.store import Buffer, Range

TOUCH_SECONDS = 60.0
"""A set in use is marked as used no more often than this."""


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """Where the cache of this machine is, for processes that open it later.

    Attributes:
        folder: On a file system of this machine that has locks.
        limit_bytes: Of all files in it together.
    """

    folder: str
    limit_bytes: int

    def open(self) -> "NodeCache":
        """Open it in this process."""
        return NodeCache(Path(self.folder), self.limit_bytes)

    def check(self) -> None:
        """Try it before a run begins, and give it up again.

        Raises:
            UsageError: It cannot be written, has no locks, or there is no room on its disk.
        """
        self.open().try_write()


class NodeCache:
    """The folder, opened by one process; several jobs may use it, each with a limit of its own.

    Who opens it when nobody else uses it counts what is there, and removes what killed processes left.

    Args:
        folder: Made if there is none.
        limit_bytes: Nothing is added beyond it, counted in blocks of all files; folders (below 1 %) come on top.
        wait_seconds: Longest wait for a lock.

    Raises:
        UsageError: The limit is not positive, or the folder cannot be written or has no locks.
    """

    def __init__(self, folder: Path, limit_bytes: int, wait_seconds: float = WAIT_SECONDS) -> None:
        if limit_bytes <= 0:
            raise UsageError(f"--cache-size {limit_bytes}: expected a positive size, such as 200GB")
        self.folder, self.limit_bytes = folder, limit_bytes
        self._sets, self._unfinished = folder / "sets", folder / "unfinished"
        self._usage = Usage(folder / "usage", wait_seconds)
        self._stopped = False
        with _usable(folder):
            self._open()

    def _open(self) -> None:
        for path in (self._sets, self._unfinished):
            path.mkdir(parents=True, exist_ok=True)
        with self._usage.locked() as account:
            users = open_while(self, self.folder / "users")
            if try_lock(users, shared=False):
                for path in self._unfinished.iterdir():
                    path.unlink()
                account.bytes, account.stopped = bytes_below(self._sets), False
            try_lock(users, shared=True)
            self._make_room(account, 0)

    def try_write(self) -> None:
        """Write a block, and remove it.

        Raises:
            UsageError: It cannot be written.
        """
        block = self._unfinished / uuid.uuid4().hex
        with _usable(self.folder):
            try:
                block.write_bytes(bytes(DISK_BLOCK_BYTES))
            finally:
                block.unlink(missing_ok=True)

    def of_set(self, identity: str) -> "KeptSet":
        """Use the kept ranges of the set with this identity; none of them is evicted as long as the result lives.

        Raises:
            UsageError: The folder cannot be written.
        """
        folder = self._sets / quote(identity, safe="")
        with _usable(self.folder), self._usage.locked():
            folder.mkdir(exist_ok=True)
            return KeptSet(self, folder)

    def put(self, path: Path, data: Buffer) -> None:
        """Make `data` the content of `path`, if there is room and not more there; when that fails, add no more."""
        if self._stopped:
            return
        try:
            if self._reserve(cost(len(data))):
                self._write(path, data)
            else:
                self._remove_shorter(path, len(data))
        except OSError as error:
            self._stop(error)

    def _remove_shorter(self, path: Path, num_bytes: int) -> None:
        """Remove what is no longer what is asked for: its room is better used, unless a job with more room keeps it."""
        with self._usage.locked() as account:
            if account.bytes <= self.limit_bytes and 0 < size_of(path) < num_bytes:
                account.bytes -= remove_file(path)

    def _reserve(self, needed: int) -> bool:
        with self._usage.locked() as account:
            self._stopped = account.stopped
            if not self._stopped and account.bytes + needed > self.limit_bytes:
                self._make_room(account, needed)
            if self._stopped or account.bytes + needed > self.limit_bytes:
                return False
            account.bytes += needed
            return True

    def _write(self, path: Path, data: Buffer) -> None:
        """Write what was reserved; the reservation is given back if nothing came of it."""
        unfinished, reserved = self._unfinished / uuid.uuid4().hex, cost(len(data))
        try:
            unfinished.write_bytes(data)
            path.parent.mkdir(exist_ok=True)
            with self._usage.locked() as account:
                if (there := size_of(path)) < len(data):
                    os.replace(unfinished, path)
                    account.bytes -= cost(there)
                    reserved = 0
        finally:
            unfinished.unlink(missing_ok=True)
            if reserved:
                with self._usage.locked() as account:
                    account.bytes -= reserved

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of a set; what cannot be removed stays counted."""
        with suppress(OSError), self._usage.locked() as account:
            for path in paths:
                account.bytes -= remove_file(path)

    def _make_room(self, account: Account, needed: int) -> None:
        """Remove sets that nobody uses, shard by shard, until `needed` more bytes fit; the lock is held."""
        if account.bytes + needed <= self.limit_bytes:
            return
        for folder in sorted(self._sets.iterdir(), key=_last_use):
            with tried_alone(folder / "in-use") as unused:
                for shard in folder.glob("*.ranges") if unused else ():
                    for path in shard.iterdir():
                        account.bytes -= remove_file(path)
                    shard.rmdir()
                    if account.bytes + needed <= self.limit_bytes:
                        return
                if unused:
                    shutil.rmtree(folder, ignore_errors=True)

    def _stop(self, error: OSError) -> None:
        """Add no more, here and in all other processes, until the cache is opened by one alone; say so once."""
        said, self._stopped = self._stopped, True
        with suppress(OSError), self._usage.locked() as account:
            said, account.stopped = said or account.stopped, True
        if not said:
            reason = error.strerror or str(error)
            sys.stderr.write(
                f"cache {self.folder}: {reason}; nothing more is added to it, what it holds is used, the rest is "
                "fetched: make room or mend that before the next run\n"
            )
            sys.stderr.flush()


class KeptSet:
    """The kept ranges of one set; marks it as in use. Threads may share it.

    Args:
        cache: The folder and its bound.
        folder: Of the set; there is one.
    """

    def __init__(self, cache: NodeCache, folder: Path) -> None:
        self._cache, self._folder = cache, folder
        self._in_use = open_while(self, folder / "in-use")
        try_lock(self._in_use, shared=True)
        self._touched = -TOUCH_SECONDS
        self._shards: dict[str, Path] = {}
        self._touch()

    def get(self, name: str, span: Range) -> bytes | None:
        """The bytes of a range, if it begins where a kept one begins and is no longer; None otherwise."""
        self._touch()
        offset, length = span
        with suppress(OSError), self._open(name, offset) as file:
            data = file.read(length)
            return data if len(data) == length else None
        return None

    def has(self, name: str, span: Range) -> bool:
        """Whether `get` will find a range; the disk is asked to have it ready."""
        offset, length = span
        with suppress(OSError), self._open(name, offset) as file:
            if hasattr(os, "posix_fadvise"):  # macOS has none
                os.posix_fadvise(file.fileno(), 0, length, os.POSIX_FADV_WILLNEED)
            return os.fstat(file.fileno()).st_size >= length
        return False

    def add(self, name: str, span: Range, data: Buffer) -> None:
        """Keep the bytes of a range, if there is room."""
        self._cache.put(self._shard(name) / str(span[0]), data)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> None:
        """Remove each kept range that overlaps one of `ranges`."""
        with suppress(OSError):
            kept = [(int(path.name), path) for path in self._shard(name).iterdir()]
            self._cache.remove([path for start, path in kept if _overlaps((start, size_of(path)), ranges)])

    def _open(self, name: str, offset: int) -> FileIO:
        return FileIO(f"{self._shard(name)}/{offset}")

    def _shard(self, name: str) -> Path:
        if name not in self._shards:
            self._shards[name] = self._folder / f"{quote(name, safe='')}.ranges"
        return self._shards[name]

    def _touch(self) -> None:
        if time.monotonic() - self._touched >= TOUCH_SECONDS:
            self._touched = time.monotonic()
            with suppress(OSError):
                os.utime(self._in_use)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Say in plain words why the cache cannot be opened."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or folder, error.strerror or error
        raise UsageError(
            f"--cache {folder}: expected a folder that can be written, on a disk of this machine with room and with "
            f"locks; {where}: {reason}: mend that, choose another folder, or go without --cache"
        ) from error


def _last_use(folder: Path) -> float:
    try:
        return (folder / "in-use").stat().st_mtime
    except OSError:
        return 0.0


def _overlaps(span: Range, ranges: Sequence[Range]) -> bool:
    return any(span[0] < sum(other) and other[0] < sum(span) for other in ranges)
