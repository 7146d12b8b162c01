"""From rows of the index to samples: byte ranges, checks, decoding.

Holds the columns it needs as flat arrays (numpy, or anything indexed alike: the loader puts shared memory there), so
that a worker process gets no table of its own.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sharding.codecs.image import decode_image
from sharding.codecs.parts import decode_depth, decode_valid
from sharding.errors import DataError
from sharding.format.choices import Compression
from sharding.format.names import member_name
from sharding.format.sample import PARTS, Sample, valid_pixels
from sharding.format.shard import BLOCK, check_member, unpack_member
from sharding.reading.columns import Column
from sharding.stores.ranges import cut_range, merge_ranges
from sharding.stores.store import Range, Store

StoredParts = dict[str, memoryview]
"""Part -> its bytes as they are stored."""

MERGE_GAP_BYTES = 2 * BLOCK
"""Parts that stand no further apart (padding and header of a `.tar`) are read as one range."""

NEIGHBOURS_BYTES = 8_000_000
"""Samples that touch are read together up to so many bytes: a connection of 50 MB/s has them in 0.2 s."""

REREADS = 2
"""How often a damaged sample is read again, where that may give something else."""


class SampleReader:
    """Reads samples of a set by row, from its store.

    Picklable. The store is opened in each process that reads, for a remote client must not cross a fork. Threads of a
    process may share a reader.

    Args:
        url: The set's folder or URL, for messages.
        open_shards: Opens the store of the shards; picklable.
        shards: Names of the shard files, which the column `shard` counts through.
        compression: Of each shard.
        columns: See `flatten`.
        exts: Extensions, which the columns `PART_ext` count through.
    """

    def __init__(
        self,
        url: str,
        open_shards: Callable[[], Store],
        shards: Sequence[str],
        compression: Sequence[Compression],
        columns: Mapping[str, Column],
        exts: Sequence[str],
    ) -> None:
        self.url = url
        self.columns = dict(columns)
        self._shards, self._compression, self._exts = tuple(shards), tuple(compression), tuple(exts)
        self._open = open_shards
        self._store: tuple[int, Store] | None = None

    def __len__(self) -> int:
        return len(self.columns["shard"])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}

    def with_columns(self, change: Callable[[Column], Column]) -> "SampleReader":
        """Return a reader whose columns went through `change`, such as into shared memory."""
        changed = copy.copy(self)
        changed.columns = {name: change(column) for name, column in self.columns.items()}
        return changed

    @property
    def store(self) -> Store:
        """This process's store, opened if it is not."""
        return self.open()

    def open(self) -> Store:
        """Open this process's store, if it is not; threads that share a reader must find it open."""
        if self._store is None or self._store[0] != os.getpid():
            self._store = os.getpid(), self._open()
        return self._store[1]

    def key(self, row: int) -> str:
        """The key of a row."""
        return bytes(np.asarray(self.columns["key"][row])).rstrip(b"\0").decode()

    def read(self, rows: Sequence[int], parts: Sequence[str]) -> list[Sample]:
        """Read and decode `parts` ("image", "depth", "valid") of each row, in the order of `rows`.

        Raises:
            DataError: A part is damaged or missing; names shard, key and part.
        """
        stored = self.read_stored_checked(rows, parts)
        return [self.decode(row, found) for row, found in zip(rows, stored, strict=True)]

    def decode(self, row: int, stored: StoredParts) -> Sample:
        """Decode the checked parts of a row.

        Raises:
            DataError: A part is not what the index says; names shard, key and part.
        """
        return self._decode(row, self.unpack(row, stored))

    def read_encoded(self, rows: Sequence[int], parts: Sequence[str]) -> list[dict[str, bytes]]:
        """Read the payloads of `parts` of each row, checked, not decoded. A part a sample lacks is left out."""
        stored = self.read_stored_checked(rows, parts)
        return [self.unpack(row, found) for row, found in zip(rows, stored, strict=True)]

    def read_stored_checked(self, rows: Sequence[int], parts: Sequence[str]) -> list[StoredParts]:
        """As `read_stored`, compared with the checksums of the index; what is damaged is read again if that may help.

        Raises:
            DataError: A part is damaged or cannot be read; names shard and key.
        """
        stored = self.read_stored(rows, parts)
        return [self._mend(row, parts, found) for row, found in zip(rows, stored, strict=True)]

    def _mend(self, row: int, parts: Sequence[str], stored: StoredParts) -> StoredParts:
        """The parts of a row, sound: those given, or others read in their place."""
        for _ in range(REREADS):
            try:
                return self.check(row, stored)
            except DataError:
                name = self._shards[int(self.columns["shard"][row])]
                if not self.store.invalidate(name, self.ranges(row, parts)):
                    raise
                stored = self.read_stored([row], parts)[0]
        return self.check(row, stored)

    def read_stored(self, rows: Sequence[int], parts: Sequence[str]) -> list[StoredParts]:
        """Read the bytes of `parts` of each row as they are stored, not checked. A part a sample lacks is left out.

        Each row's ranges are asked for as they are, whatever rows it is read with: a cache finds them again.

        Raises:
            DataError: They cannot be read; names shard and key.
        """
        spans = [self._spans(row, parts) for row in rows]
        wanted: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            wanted.setdefault(int(self.columns["shard"][row]), []).append(at)
        found: dict[int, StoredParts] = {}
        for shard, places in wanted.items():
            merged = [self.ranges(rows[at], parts) for at in places]
            with self._located(rows[places[0]], more=len(places) - 1):
                buffers = iter(self.store.read(self._shards[shard], [r for ranges in merged for r in ranges]))
            for at, ranges in zip(places, merged, strict=True):
                pieces = [(span, next(buffers)) for span in ranges]
                found[at] = {part: cut_range(pieces, span) for part, span in spans[at].items()}
        return [found[at] for at in range(len(rows))]

    def check(self, row: int, stored: StoredParts) -> StoredParts:
        """Return what `read_stored` gave for a row, compared with the checksums of the index.

        Raises:
            DataError: A part is damaged; names shard, key and part.
        """
        with self._located(row, f"; run `depthstream verify {self.url}`"):
            for part, data in stored.items():
                check_member(data, self._member(row, part), int(self.columns[f"{part}_crc32c"][row]))
        return stored

    def unpack(self, row: int, stored: StoredParts) -> dict[str, bytes]:
        """Inflate the checked parts of a row to their payloads.

        Raises:
            DataError: A part is not the one that the index names; names shard, key and part.
        """
        compression = self._compression[int(self.columns["shard"][row])]
        with self._located(row, f"; run `depthstream verify {self.url}`"):
            return {part: unpack_member(data, self._member(row, part), compression) for part, data in stored.items()}

    def ranges(self, row: int, parts: Sequence[str]) -> list[Range]:
        """The byte ranges that are read for `parts` of a row, in order.

        With image, depth and valid the JSON behind them is read, too: it is small, and samples that stand next to each
        other in a `.tar.zst` then touch, so that a remote store gets both with one request.
        """
        whole = set(parts) >= {"image", "depth", "valid"}
        spans = self._spans(row, (*parts, "meta") if whole else parts)
        return merge_ranges(spans.values(), MERGE_GAP_BYTES)

    def is_cached(self, row: int, parts: Sequence[str]) -> bool:
        """Whether what is read for `parts` of a row, soon, is in a cache on this machine."""
        return self.store.is_cached(self._shards[int(self.columns["shard"][row])], self.ranges(row, parts))

    def group_touching(self, rows: Sequence[int], parts: Sequence[str]) -> list[list[int]]:
        """Group rows that one request may read: those of which each begins in the shard where the one before it ends.

        Returns:
            Indices into `rows`, each in one group; a group has at most `NEIGHBOURS_BYTES`, or a single row.
        """
        placed = sorted((int(self.columns["shard"][row]), self.ranges(row, parts), at) for at, row in enumerate(rows))
        groups: list[list[int]] = []
        total, touched = 0, None
        for shard, ranges, at in placed:
            size = sum(length for _, length in ranges)
            if ranges and (shard, ranges[0][0]) == touched and total + size <= NEIGHBOURS_BYTES:
                groups[-1].append(at)
                total += size
            else:
                groups.append([at])
                total = size
            touched = (shard, sum(ranges[-1])) if ranges else None
        return groups

    def _spans(self, row: int, parts: Sequence[str]) -> dict[str, Range]:
        """Byte range of each part the row has, in the order of the members."""
        spans = {
            part: (int(self.columns[f"{part}_offset"][row]), int(self.columns[f"{part}_bytes"][row]))
            for part in PARTS
            if part in parts
        }
        return {part: span for part, span in spans.items() if span[0] >= 0}

    def _member(self, row: int, part: str) -> str:
        return member_name(self.key(row), part, self.ext(row, part))

    def describe(self, row: int, more: int = 0) -> str:
        """Shard and key of a row, for people, such as "shard shards/x-000000.tar.zst, key a and 2 more"."""
        shard = self._shards[int(self.columns["shard"][row])]
        return f"shard {shard}, key {self.key(row)}" + (f" and {more} more" if more else "")

    @contextmanager
    def _located(self, row: int, advice: str = "", more: int = 0) -> Iterator[None]:
        """Put shard and key of a row (and how many more) before the message of a DataError, and `advice` after it."""
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.describe(row, more)}: {error}{advice}") from error

    def ext(self, row: int, part: str) -> str:
        """The extension of a row's part, "" if it lacks it."""
        return self._exts[int(self.columns[f"{part}_ext"][row])]

    def _decode(self, row: int, members: dict[str, bytes]) -> Sample:
        with self._located(row):
            image = decode_image(members["image"]) if "image" in members else np.empty((0, 0, 3), np.uint8)
            depth = decode_depth(members["depth"], self.ext(row, "depth")) if "depth" in members else None
            valid = decode_valid(members["valid"]) if "valid" in members else None
            if valid is None and depth is not None:  # a set made elsewhere has no such part
                valid = valid_pixels(depth)
            return Sample(key=self.key(row), image=image, depth=depth, valid=valid)
