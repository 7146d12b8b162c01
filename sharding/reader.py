"""From rows of the index to samples: byte ranges, checks, decoding.

Holds the columns it needs as flat arrays (numpy, or anything indexed alike: the loader puts shared memory there), so
that a worker process gets no table of its own.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sharding.address import open_store
from sharding.codecs import decode_depth, decode_image, decode_valid
from sharding.errors import DataError
from sharding.sample import PARTS, Sample, valid_pixels
from sharding.shard import BLOCK, Compression, check_member, unpack_member
from sharding.store import Range, Store

if TYPE_CHECKING:
    import pandas as pd

StoredParts = dict[str, memoryview]
"""Part -> its bytes as they are stored."""

MERGE_GAP_BYTES = 2 * BLOCK
"""Parts that stand no further apart (padding and header of a `.tar`) are read as one range."""


class Column(Protocol):
    """A flat array: numpy's, or torch's in shared memory."""

    def __getitem__(self, row: int, /) -> Any:
        """The value of a row."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...


class SampleReader:
    """Reads samples of a set by row, from its store.

    Picklable. The store is opened in each process that reads, for a remote client must not cross a fork.

    Args:
        url: The set's folder or URL.
        shards: Names of the shard files, which the column `shard` counts through.
        compression: Of each shard.
        columns: See `flatten`.
        exts: Extensions, which the columns `PART_ext` count through.
    """

    def __init__(
        self,
        url: str,
        shards: Sequence[str],
        compression: Sequence[Compression],
        columns: Mapping[str, Column],
        exts: Sequence[str],
    ) -> None:
        self.url = url
        self.columns = dict(columns)
        self._shards, self._compression, self._exts = tuple(shards), tuple(compression), tuple(exts)
        self._store: tuple[int, Store] | None = None

    def __len__(self) -> int:
        return len(self.columns["shard"])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}

    def with_columns(self, change: Callable[[Column], Column]) -> "SampleReader":
        """Return a reader whose columns went through `change`, such as into shared memory."""
        return SampleReader(
            self.url, self._shards, self._compression, {k: change(v) for k, v in self.columns.items()}, self._exts
        )

    @property
    def store(self) -> Store:
        """This process's store."""
        if self._store is None or self._store[0] != os.getpid():
            self._store = os.getpid(), open_store(self.url)
        return self._store[1]

    def key(self, row: int) -> str:
        """The key of a row."""
        return bytes(np.asarray(self.columns["key"][row])).rstrip(b"\0").decode()

    def read(self, rows: Sequence[int], parts: Sequence[str]) -> list[Sample]:
        """Read and decode `parts` ("image", "depth", "valid") of each row, in the order of `rows`.

        Raises:
            DataError: A part is damaged or missing; names shard, key and part.
        """
        return [self._decode(row, members) for row, members in zip(rows, self.read_encoded(rows, parts), strict=True)]

    def read_encoded(self, rows: Sequence[int], parts: Sequence[str]) -> list[dict[str, bytes]]:
        """Read the payloads of `parts` of each row, checked, not decoded. A part a sample lacks is left out."""
        stored = self.read_stored(rows, parts)
        return [self.unpack(row, self.check(row, found)) for row, found in zip(rows, stored, strict=True)]

    def read_stored(self, rows: Sequence[int], parts: Sequence[str]) -> list[StoredParts]:
        """Read the bytes of `parts` of each row as they are stored, not checked. A part a sample lacks is left out."""
        spans = [self._spans(row, parts) for row in rows]
        wanted: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            wanted.setdefault(int(self.columns["shard"][row]), []).append(at)
        found: dict[int, StoredParts] = {}
        for shard, places in wanted.items():
            merged = [_merge(list(spans[at].values())) for at in places]
            buffers = iter(self.store.read(self._shards[shard], [r for ranges in merged for r in ranges]))
            for at, ranges in zip(places, merged, strict=True):
                pieces = [(start, next(buffers)) for start, _ in ranges]
                found[at] = {part: _cut(pieces, span) for part, span in spans[at].items()}
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

    @contextmanager
    def _located(self, row: int, advice: str = "") -> Iterator[None]:
        """Put shard and key of a row before the message of a DataError, and `advice` after it."""
        try:
            yield
        except DataError as error:
            shard = self._shards[int(self.columns["shard"][row])]
            raise DataError(f"shard {shard}, key {self.key(row)}: {error}{advice}") from error

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


def member_name(key: str, part: str, ext: str) -> str:
    """Name of the member that holds a part: `KEY.EXT` (image), `KEY.json` (meta), `KEY.PART.EXT` (the others)."""
    return f"{key}.{ext}" if part in ("image", "meta") else f"{key}.{part}.{ext}"


def flatten(index: "pd.DataFrame", shards: Sequence[str]) -> tuple[dict[str, Column], tuple[str, ...]]:
    """The columns that reading needs, as flat numpy arrays, and the extensions that `PART_ext` counts through.

    `key` is uint8 (N, longest key), zero-padded; all others are int64 (N,).

    Raises:
        DataError: The index names a shard that is not among `shards`.
    """
    exts = tuple(sorted({ext for part in PARTS for ext in index[f"{part}_ext"].unique()}))
    number = {name.rpartition("/")[2]: at for at, name in enumerate(shards)}
    if unknown := sorted(set(index["shard"]) - set(number)):
        raise DataError(f"the index names shard {unknown[0]}, which the manifest does not; get a whole copy of the set")
    keys = np.char.encode(index["key"].to_numpy(dtype=np.str_))
    columns: dict[str, Column] = {
        "key": keys.view(np.uint8).reshape(len(index), keys.itemsize),
        "shard": index["shard"].map(number).to_numpy(np.int64),
    }
    for part in PARTS:
        columns[f"{part}_ext"] = index[f"{part}_ext"].map(exts.index).to_numpy(np.int64)
        for fact in ("offset", "bytes", "crc32c"):
            columns[f"{part}_{fact}"] = index[f"{part}_{fact}"].to_numpy(np.int64)
    return columns, exts


def _merge(spans: Sequence[Range]) -> list[Range]:
    """Join ranges that stand no further apart than `MERGE_GAP_BYTES`; tars made elsewhere have parts in any order."""
    merged: list[Range] = []
    for offset, length in sorted(spans):
        if merged and offset - sum(merged[-1]) <= MERGE_GAP_BYTES:
            merged[-1] = merged[-1][0], max(sum(merged[-1]), offset + length) - merged[-1][0]
        else:
            merged.append((offset, length))
    return merged


def _cut(pieces: Sequence[tuple[int, bytes]], span: Range) -> memoryview:
    """The bytes of `span` out of the buffers that were read, each with its offset."""
    start, buffer = next(piece for piece in reversed(pieces) if piece[0] <= span[0])
    return memoryview(buffer)[span[0] - start : span[0] - start + span[1]]
