"""A finished shard set, opened: its manifest, its index, its samples."""

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.format.index import INDEX_NAME, read_index, select_rows
from sharding.format.index_rows import IndexRows
from sharding.format.manifest import MANIFEST_NAME, Manifest
from sharding.format.meta import decode_meta
from sharding.format.sample import Sample
from sharding.format.where_text import conjoin
from sharding.limits import MAX_INDEX_BYTES, MAX_JSON_BYTES, over
from sharding.reading.columns import check_exts, flatten
from sharding.reading.missing import explain_missing
from sharding.reading.reader import REREADS, SampleReader
from sharding.stores.address import is_remote, shown
from sharding.stores.node_cache import CacheSettings
from sharding.stores.opening import open_store
from sharding.stores.store import Store

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

DEPTH_PARTS = ("image", "depth", "valid")


class ShardSet:
    """A shard set, whole or a subset of it.

    Rows are samples in shard order. Opening reads the manifest and the index, no shard.

    Args:
        url: Folder or URL of the set.
        where: A condition on the index, see `sharding.format.where`; None for all samples.
        cache: Where the fetched ranges of a remote set are cached; a local set needs no cache.
        check_index: Whether the index must have the hash in the manifest; False for `verify`, which reports a mismatch.

    Attributes:
        url: Folder or URL of the set without a login, for messages and files.
        address: Folder or URL of the set as given, for opening; it may hold a login.
        where: As given.
        cache: As given.
        manifest: The manifest.
        index_sha256: sha256 of the index file that was read.
        rows: The same rows in less memory; `index` is made of them when it is first used.
        ids: int64 (N,), row numbers in the whole index: they identify a sample in any subset.
        shard_sizes: int64 (shards,), samples of the subset in each shard.
        reader: Reads rows; picklable, for loaders.

    Raises:
        DataError: There is no finished set, or manifest and index contradict each other.
        UsageError: `where` is wrong or selects nothing, or the cache cannot be written.

    Example:
        >>> view = ShardSet("sets/diode-val", where="scene_type == 'outdoor'")[0]   # doctest: +SKIP
        >>> view.image.shape, view.depth.dtype                                        # doctest: +SKIP
        ((768, 1024, 3), dtype('float32'))
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        where: str | None = None,
        cache: CacheSettings | None = None,
        *,
        check_index: bool = True,
    ) -> None:
        self.address, self.where, self.cache = os.fspath(url), where, cache
        self.url = shown(self.address)
        if cache is not None and is_remote(self.url):
            cache.check()  # here, so that it fails before any worker process starts
        store = open_store(self.address)
        self.manifest = read_manifest(store, self.url)
        expected = self.manifest.index_sha256 if check_index else None
        _check_size(store.size(INDEX_NAME), MAX_INDEX_BYTES, f"{self.url}/{INDEX_NAME}")
        whole, self.index_sha256 = _read_again_if_damaged(
            store, INDEX_NAME, partial(_decode, self.url, self.manifest, expected)
        )
        self._take(select_rows(whole, where))

    def _take(self, rows: IndexRows) -> None:
        """Make these rows the subset; they keep the labels of the whole index."""
        self.rows = rows
        self.ids: NDArray[np.int64] = rows.index.to_numpy(np.int64)
        names = [shard.name for shard in self.manifest.shards]
        columns, exts = flatten(rows, names)
        self.shard_sizes: NDArray[np.int64] = np.bincount(np.asarray(columns["shard"]), minlength=len(names))
        self.reader = SampleReader(
            self.url,
            partial(
                open_store,
                self.address,
                expected_bytes={shard.name: shard.bytes for shard in self.manifest.shards},
                cache=self.cache,
                identity=self.manifest.identity,
            ),
            names,
            [shard.compression for shard in self.manifest.shards],
            columns,
            exts,
        )

    @cached_property
    def index(self) -> "pd.DataFrame":
        """The table of pandas, one row per sample of the subset; columns in docs/format.md."""
        return self.rows.to_frame()

    def narrowed(self, condition: str) -> "ShardSet":
        """Return the samples that also meet a condition; reads nothing.

        Its `where` joins both conditions: the set opened with that has the same samples.

        Raises:
            UsageError: As `where`.
        """
        subset = copy.copy(self)
        subset.__dict__.pop("index", None)
        subset.where = conjoin(self.where, condition)
        subset._take(select_rows(self.rows, condition))
        return subset

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Sample:
        """Read image, depth and valid of sample `row`; negative rows count from the end."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} samples")
        return self.read([row % len(self)])[0]

    def read(self, rows: Sequence[int], parts: Sequence[str] = DEPTH_PARTS) -> list[Sample]:
        """Read and decode `parts` of each row, in the order of `rows`; see `SampleReader.read`.

        Raises:
            DataError: A sample is damaged; names shard and key.
        """
        return self.reader.read(rows, parts)

    def meta(self, row: int) -> dict[str, Any]:
        """Return the content of a sample's JSON member: source path, sizes, unit, kind, statistics; {} if it has none.

        Raises:
            DataError: The member is damaged, or no JSON object; names shard and key.
        """
        members = self.reader.read_encoded([row], ("meta",))[0]
        return decode_meta(members["meta"], self.reader.describe(row)) if "meta" in members else {}


def read_manifest(store: Store, url: str) -> Manifest:
    """Read the manifest of the set at `url`.

    Raises:
        DataError: There is none, or it is damaged.
    """
    where = f"{url}/{MANIFEST_NAME}"
    if (size := store.size(MANIFEST_NAME)) is None:
        raise DataError(
            (not is_remote(url) and explain_missing(url))
            or f"{url}: expected a shard set with {MANIFEST_NAME}, found none; check the address"
        )
    _check_size(size, MAX_JSON_BYTES, where)
    return _read_again_if_damaged(store, MANIFEST_NAME, lambda data: Manifest.decode(data, where))


def _check_size(size: int | None, limit: int, where: str) -> None:
    """Check that a file is there, and not too large to be read.

    Raises:
        DataError: It is not.
    """
    if size is None:
        raise DataError(f"{where}: expected a file, found none; get a whole copy of the set")
    if size > limit:
        raise DataError(f"{where}: {over(f'found {size} bytes', limit)}")


def _decode(url: str, manifest: Manifest, expected: str | None, data: bytes) -> tuple[IndexRows, str]:
    """Decode the index; also return its sha256, which must be the expected one, if any."""
    found = hashlib.sha256(data).hexdigest()
    if expected not in (None, found):
        raise DataError(
            f"{url}/{INDEX_NAME}: expected sha256 {expected}, found {found}; the index was "
            f"edited or damaged: `depthstream verify {url}` shows where; get a whole copy of the set"
        )
    rows = read_index(data, f"{url}/{INDEX_NAME}", manifest)
    check_exts(rows, f"{url}/{INDEX_NAME}", manifest.tool)
    return rows, found


def _read_again_if_damaged(store: Store, name: str, decode: Callable[[bytes], T]) -> T:
    """Read a file and decode it; if it is damaged, read it again where that may give other bytes.

    Raises:
        DataError: It is missing, or still damaged.
    """
    for _ in range(REREADS):
        data = store.read_all(name)
        try:
            return decode(data)
        except DataError:
            if not store.invalidate(name, []):
                raise
    return decode(store.read_all(name))
