"""A shard that is being written: add samples one by one, then take its line of the ledger."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO

from sharding.format.choices import Compression
from sharding.format.index import Row
from sharding.format.manifest import ShardFile
from sharding.format.shard import ShardWriter
from sharding.making.ledger import Entry
from sharding.making.packing import PackedSample
from sharding.making.target import SetTarget
from sharding.sources.pairing import Refusal

BEHIND_BYTES = 16 << 20
"""Maximum bytes queued to be written."""

SYNC_BYTES = 16 << 20
"""Bytes after which a shard is flushed to disk (fsync), so that its end does not wait for all of it."""


class OpenShard:
    """A shard that is open for writing.

    Args:
        name: File name.
        file: Open for writing.
        compression: Compression of the shard.

    Attributes:
        refused: Planned samples that are not in it.
    """

    def __init__(self, name: str, file: "_Hashed", compression: Compression) -> None:
        self._name, self._file, self._compression = name, file, compression
        self._writer = ShardWriter(self._file, compression)
        self._rows: list[Row] = []
        self._depth_error = 0.0
        self.refused: list[Refusal] = []

    def add(self, sample: PackedSample) -> None:
        """Append a sample."""
        parts = {part: (ext, self._writer.append(member)) for part, (ext, member) in sample.members.items()}
        candidate = sample.candidate
        self._depth_error = max(self._depth_error, sample.depth_error)
        self._rows.append(
            Row(
                key=candidate.key,
                shard=self._name,
                origin=candidate.origin,
                height=sample.height,
                width=sample.width,
                depth=sample.depth,
                parts=parts,
            )
        )

    def end(self) -> None:
        """Append the end of the tar, and wait until all is written."""
        self._writer.close()
        self._file.settle()

    def entry(self, tag: str, refused_at: dict[str, int] | None = None, read: str = "") -> Entry:
        """Make its line of the ledger, once it is ended.

        Args:
            tag: Its tag in the target; see `SetTarget.tag`.
            refused_at: Change time of each source file of refused samples, in ns.
            read: State of the source files before they were read.
        """
        file = ShardFile(
            name=f"shards/{self._name}",
            samples=len(self._rows),
            bytes=self._file.bytes,
            sha256=self._file.sha256.hexdigest(),
            compression=self._compression,
        )
        return Entry(
            file=file,
            rows=self._rows,
            refused=self.refused,
            refused_at=refused_at or {},
            depth_error=self._depth_error,
            tag=tag,
            read=read,
        )


@contextmanager
def open_shard(target: SetTarget, name: str, compression: Compression) -> Iterator[OpenShard]:
    """Open the shard of this file name; it becomes visible, whole, only if the block ends well."""
    # Left in reverse order: the writing thread ends before the file is renamed or sent.
    with target.create(f"shards/{name}") as file, _Hashed(file) as hashed:
        shard = OpenShard(name, hashed, compression)
        yield shard
        shard.end()


class _Hashed:
    """A file that one thread writes and hashes in order, at most `BEHIND_BYTES` behind."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256, self.bytes = file, hashlib.sha256(), 0
        # Writing, SHA-256 and fsync release the interpreter lock: the caller prepares the next sample meanwhile.
        self._pool = ThreadPoolExecutor(1, "write")
        self._behind: deque[tuple[int, Future[None]]] = deque()
        self._bytes_behind = self._not_synced = 0

    def write(self, data: bytes) -> None:
        """Queue bytes to be written; the error of an earlier write is raised here, or by `settle`."""
        # Take finished writes off the queue for their errors; wait for the oldest only beyond the limit.
        while self._bytes_behind > BEHIND_BYTES or (self._behind and self._behind[0][1].done()):
            self._settle_one()
        self._behind.append((len(data), self._pool.submit(self._write, data)))
        self._bytes_behind += len(data)
        self.bytes += len(data)

    def _write(self, data: bytes) -> None:
        # Only the one thread of the pool touches file and hash until `settle`.
        self._file.write(data)
        self.sha256.update(data)
        self._not_synced += len(data)
        if self._not_synced >= SYNC_BYTES:
            self._not_synced = 0
            self._file.flush()
            os.fsync(self._file.fileno())

    def settle(self) -> None:
        """Wait until all is written."""
        while self._behind:
            self._settle_one()

    def _settle_one(self) -> None:
        num_bytes, written = self._behind.popleft()
        self._bytes_behind -= num_bytes
        written.result()

    def __enter__(self) -> "_Hashed":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Nothing is queued after `OpenShard.end`; after an error the rest is dropped, as the file will be.
        self._pool.shutdown(cancel_futures=True)
