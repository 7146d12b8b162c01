"""From rows of the index to samples: byte ranges, checksums, decoding.

The columns are flat arrays (numpy, or anything indexed like one, such as the loader's shared memory), so that a worker
process needs no copy of the index.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sharding.codecs.parts import decode_valid
from sharding.errors import DamagedSample, DataError
from sharding.format.choices import Compression
from sharding.format.names import member_name
from sharding.format.sample import PARTS, Sample, check_shape
from sharding.format.shard import check_member, unpack_member
from sharding.format.tar_walk import BLOCK
from sharding.reading.columns import Column
from sharding.reading.decoders import Decoders
from sharding.stores.local import LocalStore
from sharding.stores.ranges import cut_range, merge_ranges
from sharding.stores.store import Buffer, Range, Store

StoredParts = dict[str, Buffer]
"""Part -> its bytes as stored in the shard, before `unpack`."""

Found = StoredParts | DamagedSample
"""What was read of a row: its parts, with correct checksums, or why there are none."""

MERGE_GAP_BYTES = 2 * BLOCK
"""Parts that are no further apart are read as one range: in a `.tar`, padding and header of the next member."""

NEIGHBOURS_BYTES = 8_000_000
"""Adjacent samples are read together up to this size: 0.16 s over a connection of 50 MB/s."""

REREADS = 4
"""How often a damaged sample is read again, where that may give other bytes. Of 10^6 reads of which 0.6 % were damaged,
one was damaged three times in a row (docs/results/reads.md)."""


class SampleReader:
    """Reads samples of a set by row, from its store.

    Picklable. The store is opened in each process that reads, because a remote client must not cross a fork. Threads
    of a process may share a reader.

    Args:
        url: Folder or URL of the set, for messages.
        open_shards: Opens the store of the shards; picklable.
        shards: Names of the shard files; the column `shard` holds positions in it.
        compression: Compression of each shard.
        columns: See `flatten`.
        exts: Extensions; the columns `PART_ext` hold positions in it.
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
        self._store: tuple[int, Store] | None = None  # with the id of the process that opened it
        self._decoders = Decoders()

    def __len__(self) -> int:
        return len(self.columns["shard"])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}

    def with_columns(self, change: Callable[[Column], Column]) -> "SampleReader":
        """Return a reader with `change` applied to each column, such as a move into shared memory."""
        changed = copy.copy(self)
        changed.columns = {name: change(column) for name, column in self.columns.items()}
        return changed

    def with_decoders(self, decoders: Decoders) -> "SampleReader":
        """Return a reader that decodes with other functions."""
        changed = copy.copy(self)
        changed._decoders = decoders
        return changed

    @property
    def store(self) -> Store:
        """The store of this process, opened if necessary."""
        return self.open()

    def open(self) -> Store:
        """Open the store of this process, if it is not open; call it before threads share the reader."""
        if self._store is None or self._store[0] != os.getpid():  # after a fork, the store is the parent's
            self._store = os.getpid(), self._open()
        return self._store[1]

    def key(self, row: int) -> str:
        """Return the key of a row."""
        end = self.columns["key_end"]
        text = self.columns["key_text"][int(end[row - 1]) if row else 0 : int(end[row])]
        return bytes(np.asarray(text)).decode()

    def read(self, rows: Sequence[int], parts: Sequence[str]) -> list[Sample]:
        """Read and decode `parts` ("image", "depth", "valid") of each row, in the order of `rows`.

        Raises:
            DataError: A part is damaged or cannot be read; names shard and key.
        """
        stored = self.read_stored_checked(rows, parts)
        return [self.decode(row, found) for row, found in zip(rows, stored, strict=True)]

    def decode(self, row: int, found: Found) -> Sample:
        """Decode the checked parts of a row.

        Raises:
            DamagedSample: A part is damaged, is not what the index names, or fails to decode; names shard and key.
        """
        parts = self.unpack(row, found)
        with self._damaged(row):
            image = self._decoders.image(parts["image"]) if "image" in parts else np.empty((0, 0, 3), np.uint8)
            if "depth" not in parts:
                valid = decode_valid(parts["valid"]) if "valid" in parts else None
                return Sample(key=self.key(row), image=image, valid=valid)
            depth, known = self._decoders.depth(parts["depth"], self.ext(row, "depth"), parts.get("valid"))
            if "image" in parts:
                check_shape("image", image.shape[:2], "depth", depth.shape)
            return Sample(key=self.key(row), image=image, depth=depth, valid=known)

    def read_encoded(self, rows: Sequence[int], parts: Sequence[str]) -> list[dict[str, bytes]]:
        """Read the payloads of `parts` of each row, checked, not decoded. A part a sample lacks is left out."""
        stored = self.read_stored_checked(rows, parts)
        unpacked = [self.unpack(row, found) for row, found in zip(rows, stored, strict=True)]
        return [{part: bytes(payload) for part, payload in parts.items()} for parts in unpacked]

    def read_stored_checked(self, rows: Sequence[int], parts: Sequence[str]) -> list[StoredParts]:
        """Read as `read_stored` does and compare checksums; damaged rows are read again if that may give other bytes.

        Raises:
            DataError: A part cannot be read; names shard and key. `DamagedSample`: it is damaged.
        """
        return [_require(found) for found in self.read_each(rows, parts)]

    def read_each(self, rows: Sequence[int], parts: Sequence[str]) -> list[Found]:
        """Read as `read_stored_checked` does; the error of a damaged row takes its place.

        Raises:
            DataError: A part cannot be read; names shard and key.
        """
        stored = self.read_stored(rows, parts)
        return [self._try_to_check(row, parts, found) for row, found in zip(rows, stored, strict=True)]

    def _try_to_check(self, row: int, parts: Sequence[str], stored: StoredParts) -> Found:
        try:
            return self._check_or_reread(row, parts, stored)
        except DamagedSample as error:
            return error

    def _check_or_reread(self, row: int, parts: Sequence[str], stored: StoredParts) -> StoredParts:
        """Return the parts of a row with correct checksums: those given, or those of another read."""
        for _ in range(REREADS):
            try:
                return self.check(row, stored)
            except DamagedSample:
                name = self._shards[int(self.columns["shard"][row])]
                # False: another read would give the same bytes.
                if not self.store.invalidate(name, self.ranges(row, parts)):
                    raise
                stored = self.read_stored([row], parts)[0]
        return self.check(row, stored)

    def read_stored(self, rows: Sequence[int], parts: Sequence[str]) -> list[StoredParts]:
        """Read the bytes of `parts` of each row as they are stored, not checked. A part a sample lacks is left out.

        Ranges are merged within a row, never over rows: so a cache finds them in each epoch. A local folder's are not.

        Raises:
            DataError: They cannot be read; names shard and key.
        """
        spans = [self._spans(row, parts) for row in rows]
        wanted: dict[int, list[int]] = {}  # shard -> positions in `rows`, so that each shard is one call of the store
        for at, row in enumerate(rows):
            wanted.setdefault(int(self.columns["shard"][row]), []).append(at)
        found: dict[int, StoredParts] = {}
        for shard, places in wanted.items():
            apart = isinstance(self.store, LocalStore)  # a read costs less than to cut parts out and copy them
            merged = [sorted(spans[at].values()) if apart else self.ranges(rows[at], parts) for at in places]
            with self._located(rows[places[0]], more=len(places) - 1):
                buffers = iter(self.store.read(self._shards[shard], [r for ranges in merged for r in ranges]))
            for at, ranges in zip(places, merged, strict=True):
                pieces = [(span, next(buffers)) for span in ranges]  # buffers are in the order of the flattened ranges
                found[at] = {part: cut_range(pieces, span) for part, span in spans[at].items()}
        return [found[at] for at in range(len(rows))]

    def check(self, row: int, stored: StoredParts) -> StoredParts:
        """Compare the stored parts of a row with the checksums of the index, and return them.

        Raises:
            DamagedSample: A part is damaged; names shard, key and part.
        """
        with self._damaged(row, f"; run `depthstream verify {self.url}`"):
            for part, data in stored.items():
                check_member(data, self._member(row, part), int(self.columns[f"{part}_crc32c"][row]))
        return stored

    def unpack(self, row: int, found: Found) -> dict[str, Buffer]:
        """Decompress the checked parts of a row to their payloads, without a copy of what is not compressed.

        Raises:
            DamagedSample: A part is damaged, or is not the one that the index names; names shard, key and part.
        """
        stored = _require(found)
        compression = self._compression[int(self.columns["shard"][row])]
        with self._damaged(row, f"; run `depthstream verify {self.url}`"):
            return {part: unpack_member(data, self._member(row, part), compression) for part, data in stored.items()}

    def ranges(self, row: int, parts: Sequence[str]) -> list[Range]:
        """Return the byte ranges that are read for `parts` of a row, in order of offset.

        With image, depth and valid the JSON member after them is read, too: it is small, and neighbouring samples of a
        `.tar.zst` then touch, so that a remote store reads both with one request.
        """
        whole = set(parts) >= {"image", "depth", "valid"}
        spans = self._spans(row, (*parts, "meta") if whole else parts)
        return merge_ranges(spans.values(), MERGE_GAP_BYTES)

    def is_cached(self, row: int, parts: Sequence[str]) -> bool:
        """Tell whether the ranges of `parts` of a row, which will be read soon, are in a cache on this machine."""
        return self.store.is_cached(self._shards[int(self.columns["shard"][row])], self.ranges(row, parts))

    def group_touching(self, rows: Sequence[int], parts: Sequence[str]) -> list[list[int]]:
        """Group rows that one request can read: each row of a group begins in the shard where the one before it ends.

        Returns:
            Positions in `rows`, each in one group; a group has at most `NEIGHBOURS_BYTES`, or a single row.
        """
        # Sorted by shard, then by the offset of the first range, so that neighbours in a shard follow each other.
        placed = sorted((int(self.columns["shard"][row]), self.ranges(row, parts), at) for at, row in enumerate(rows))
        groups: list[list[int]] = []
        total, touched = 0, None  # bytes of the last group; (shard, offset) where it ends
        for shard, ranges, at in placed:
            size = sum(length for _, length in ranges)
            if ranges and (shard, ranges[0][0]) == touched and total + size <= NEIGHBOURS_BYTES:
                groups[-1].append(at)
                total += size
            else:
                groups.append([at])
                total = size
            touched = (shard, sum(ranges[-1])) if ranges else None  # offset + length: its end
        return groups

    def _spans(self, row: int, parts: Sequence[str]) -> dict[str, Range]:
        """Return the byte range of each of `parts` that the row has, in the order of the members."""
        spans = {
            part: (int(self.columns[f"{part}_offset"][row]), int(self.columns[f"{part}_bytes"][row]))
            for part in PARTS
            if part in parts
        }
        return {part: span for part, span in spans.items() if span[0] >= 0}  # offset -1: the sample lacks the part

    def _member(self, row: int, part: str) -> str:
        return member_name(self.key(row), part, self.ext(row, part))

    def describe(self, row: int, more: int = 0) -> str:
        """Name shard and key of a row for messages, such as "shard shards/x-000000.tar.zst, key a and 2 more"."""
        shard = self._shards[int(self.columns["shard"][row])]
        return f"shard {shard}, key {self.key(row)}" + (f" and {more} more" if more else "")

    @contextmanager
    def _located(self, row: int, more: int = 0) -> Iterator[None]:
        """Put shard and key of a row (and how many more) before the message of a DataError."""
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.describe(row, more)}: {error}") from error

    @contextmanager
    def _damaged(self, row: int, advice: str = "") -> Iterator[None]:
        """Turn a DataError about the bytes of a row into a DamagedSample with its shard and key, and `advice`."""
        try:
            yield
        except DataError as error:
            raise DamagedSample(f"{self.describe(row)}: {error}{advice}") from error

    def ext(self, row: int, part: str) -> str:
        """Return the extension of a part of a row, "" if the sample lacks the part."""
        return self._exts[int(self.columns[f"{part}_ext"][row])]


def _require(found: Found) -> StoredParts:
    if isinstance(found, DamagedSample):
        raise found
    return found
