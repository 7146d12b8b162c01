"""The cache of a node: byte ranges fetched from a remote store, in a folder that all its processes and jobs share.

    FOLDER/usage                              disk usage (see `cache_usage`), and the lock under which files change
    FOLDER/users                              locked (shared) by each process that uses the cache
    FOLDER/unfinished/                        files that are being written
    FOLDER/sets/IDENTITY/in-use               locked (shared) by each process that uses the set; mtime: its last use
    FOLDER/sets/IDENTITY/SHARD.ranges/OFFSET  the bytes of one range of the shard, from OFFSET on

A set's folder is named after its content, so a set with other bytes gets another folder. A file appears by rename,
whole or not at all. It is not synced to the disk: readers compare checksums, so a file that a power cut damaged is
found and fetched again.

An epoch visits each sample once, so in a cache smaller than its set, evicting ranges by last use would remove most of
them before their next use. Instead the ranges that were added first stay as long as a process uses their set; only
unused sets are evicted, the least recently used first.
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
"""Shortest time between two updates of the last use of a set."""


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """Where the cache of this machine is, for processes that open it later.

    Attributes:
        folder: A folder on a local file system that has locks.
        limit_bytes: Maximum bytes of all files in it together.
    """

    folder: str
    limit_bytes: int

    def open(self) -> "NodeCache":
        """Open the cache in this process."""
        return NodeCache(Path(self.folder), self.limit_bytes)

    def check(self) -> None:
        """Test that the cache can be written, before a run begins.

        Raises:
            UsageError: It cannot be written, has no locks, or there is no room on its disk.
        """
        self.open().try_write()


class NodeCache:
    """The folder, opened by one process; several jobs may use it, each with its own limit.

    A process that opens it while no other uses it measures the folder and removes files that killed processes left.

    Args:
        folder: Created if there is none.
        limit_bytes: Nothing is added beyond it, counted in disk blocks of files; folders (below 1 %) come on top.
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
            if try_lock(users, shared=False):  # no other process: the account can be measured, not only trusted
                for path in self._unfinished.iterdir():  # of killed processes: no other uses the cache
                    path.unlink()
                account.bytes, account.stopped = bytes_below(self._sets), False  # drops reservations never written
            try_lock(users, shared=True)  # succeeds: `users` is held alone only under the lock of `usage`
            self._make_room(account, 0)

    def try_write(self) -> None:
        """Write one block and remove it.

        Raises:
            UsageError: It cannot be written.
        """
        block = self._unfinished / uuid.uuid4().hex
        with _usable(self.folder):
            try:
                block.write_bytes(bytes(DISK_BLOCK_BYTES))
            finally:
                block.unlink(missing_ok=True)

    def of_set(self, identity: str) -> "CachedSet":
        """Return the cached ranges of the set with this identity; none is evicted as long as the result lives.

        Raises:
            UsageError: The folder cannot be written.
        """
        folder = self._sets / quote(identity, safe="")
        with _usable(self.folder), self._usage.locked():  # no eviction between `mkdir` and the lock on the set
            folder.mkdir(exist_ok=True)
            return CachedSet(self, folder)

    def put(self, path: Path, data: Buffer) -> None:
        """Store `data` as `path`, if there is room and no longer file there; after a failed write, add no more."""
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
        """Remove a file that is shorter than the range that is now read at its offset: it does not serve such reads."""
        with self._usage.locked() as account:
            # Above the limit of this job, another job with a larger limit filled the cache: leave its files alone.
            if account.bytes <= self.limit_bytes and 0 < size_of(path) < num_bytes:
                account.bytes -= remove_file(path)

    def _reserve(self, needed: int) -> bool:
        with self._usage.locked() as account:
            self._stopped = account.stopped  # another process may have failed to write
            if not self._stopped and account.bytes + needed > self.limit_bytes:
                self._make_room(account, needed)
            if self._stopped or account.bytes + needed > self.limit_bytes:
                return False
            account.bytes += needed  # under the same lock as the check: all processes together stay within the limit
            return True

    def _write(self, path: Path, data: Buffer) -> None:
        """Write a file whose bytes were reserved; the reservation is released if the file was not stored."""
        unfinished, reserved = self._unfinished / uuid.uuid4().hex, cost(len(data))
        try:
            unfinished.write_bytes(data)  # outside the lock: a slow disk delays no other process
            path.parent.mkdir(exist_ok=True)
            with self._usage.locked() as account:
                if (there := size_of(path)) < len(data):  # another process may have stored it meanwhile
                    os.replace(unfinished, path)
                    account.bytes -= cost(there)  # of the shorter file that was replaced
                    reserved = 0  # now the size of the stored file
        finally:
            unfinished.unlink(missing_ok=True)
            if reserved:
                with self._usage.locked() as account:
                    account.bytes -= reserved

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of a set; a file that cannot be removed is still counted."""
        with suppress(OSError), self._usage.locked() as account:
            for path in paths:
                account.bytes -= remove_file(path)

    def _make_room(self, account: Account, needed: int) -> None:
        """Evict sets that no process uses, shard by shard, until `needed` more bytes fit; the caller holds the lock."""
        if account.bytes + needed <= self.limit_bytes:
            return
        for folder in sorted(self._sets.iterdir(), key=_last_use):  # the least recently used first
            with tried_alone(folder / "in-use") as unused:  # fails while any process, this one too, uses the set
                # A part of a set is still useful, so its shards are removed one by one and the rest stays.
                for shard in folder.glob("*.ranges") if unused else ():
                    for path in shard.iterdir():
                        account.bytes -= remove_file(path)
                    shard.rmdir()
                    if account.bytes + needed <= self.limit_bytes:
                        return
                if unused:
                    shutil.rmtree(folder, ignore_errors=True)

    def _stop(self, error: OSError) -> None:
        """Add no more, in any process, until one opens the cache while no other uses it; print the reason once."""
        reported, self._stopped = self._stopped, True
        with suppress(OSError), self._usage.locked() as account:
            reported, account.stopped = reported or account.stopped, True
        if not reported:
            reason = error.strerror or str(error)
            sys.stderr.write(
                f"cache {self.folder}: {reason}; nothing more is added to it, cached data are still used, the rest is "
                "fetched: make room or fix that before the next run\n"
            )
            sys.stderr.flush()


class CachedSet:
    """The cached ranges of one set, which is marked as in use. Threads may share it.

    Args:
        cache: The cache that the set belongs to.
        folder: Folder of the set; it exists.
    """

    def __init__(self, cache: NodeCache, folder: Path) -> None:
        self._cache, self._folder = cache, folder
        self._in_use = open_while(self, folder / "in-use")
        try_lock(self._in_use, shared=True)  # free: eviction needs the `usage` lock, which `of_set` holds
        self._touched = -TOUCH_SECONDS  # monotonic seconds; so early that `_touch` updates at once
        self._shards: dict[str, Path] = {}
        self._touch()

    def get(self, name: str, span: Range) -> bytes | None:
        """Return the bytes of a range, if one of at least its length is cached at its offset; None otherwise."""
        self._touch()
        offset, length = span
        with suppress(OSError), self._open(name, offset) as file:
            # No lock: a file is whole from its rename on, and can be read to its end even if it is removed meanwhile.
            data = file.read(length)
            return data if len(data) == length else None
        return None

    def has(self, name: str, span: Range) -> bool:
        """Tell whether `get` will find a range; the disk is asked to read it ahead."""
        offset, length = span
        with suppress(OSError), self._open(name, offset) as file:
            if hasattr(os, "posix_fadvise"):  # not on macOS
                os.posix_fadvise(file.fileno(), 0, length, os.POSIX_FADV_WILLNEED)
            return os.fstat(file.fileno()).st_size >= length
        return False

    def add(self, name: str, span: Range, data: Buffer) -> None:
        """Cache the bytes of a range, if there is room."""
        self._cache.put(self._shard(name) / str(span[0]), data)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> None:
        """Remove each cached range that overlaps one of `ranges`."""
        with suppress(OSError):
            cached = [(int(path.name), path) for path in self._shard(name).iterdir()]
            self._cache.remove([path for start, path in cached if _overlaps((start, size_of(path)), ranges)])

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
                os.utime(self._in_use)  # `_last_use` reads it


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into a message that explains why the cache cannot be used."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or folder, error.strerror or error
        raise UsageError(
            f"--cache {folder}: expected a folder that can be written, on a disk of this machine with room and with "
            f"locks; {where}: {reason}: fix that, choose another folder, or go without --cache"
        ) from error


def _last_use(folder: Path) -> float:
    try:
        return (folder / "in-use").stat().st_mtime
    except OSError:
        return 0.0


def _overlaps(span: Range, ranges: Sequence[Range]) -> bool:
    return any(span[0] < sum(other) and other[0] < sum(span) for other in ranges)
