"""A shard that is being written: samples go in one by one, and its line of the ledger comes out."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sharding.candidate import Refusal
from sharding.files import open_atomically
from sharding.index import Row
from sharding.ledger import Entry
from sharding.manifest import ShardFile
from sharding.packing import PackedSample
from sharding.shard import Compression, ShardWriter


class OpenShard:
    """What `open_shard` gives.

    Args:
        name: File name.
        file: Open for writing.
        compression: Of the shard.

    Attributes:
        refused: Planned samples that are not in it.
    """

    def __init__(self, name: str, file: BinaryIO, compression: Compression) -> None:
        self._name, self._file, self._compression = name, _Hashed(file), compression
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
                split=candidate.split,
                scene=candidate.scene,
                scan=candidate.scan,
                scene_type=candidate.scene_type,
                height=sample.height,
                width=sample.width,
                depth=sample.depth,
                parts=parts,
            )
        )

    def end(self) -> None:
        """Write the end of the tar."""
        self._writer.close()

    def entry(self, refused_at: dict[str, int] | None = None) -> Entry:
        """Its line of the ledger, once it is ended.

        Args:
            refused_at: When the source files of refused samples last changed.
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
        )


@contextmanager
def open_shard(path: Path, compression: Compression) -> Iterator[OpenShard]:
    """Open a shard that is there, whole, when the block has ended well, and not at all if it has not."""
    with open_atomically(path) as file:
        shard = OpenShard(path.name, file, compression)
        yield shard
        shard.end()


class _Hashed:
    """A file that is hashed as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.sha256.update(data)
        self.bytes += len(data)
