"""What must hold for the rows of an index that nobody vouches for, checked over whole columns."""

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.index_rows import IndexRows
from sharding.format.manifest import Manifest
from sharding.format.sample import PARTS, DepthKind
from sharding.limits import MAX_PAYLOAD_BYTES, MAX_PIXELS, over

if TYPE_CHECKING:
    import pyarrow as pa

_SHARDS = "shards/"
_CHUNK = 1 << 14  # texts that are objects of Python at a time


def check_rows(rows: IndexRows, where: str) -> None:
    """Check what a row must be by itself, and that no key comes twice.

    Args:
        rows: The rows of an index.
        where: Name of the file, for messages.

    Raises:
        DataError: A row is none; names row, key and column.
    """
    import pyarrow.compute as pc

    refuse = _Refuser(rows, where)
    keys = rows.text("key")
    refuse.first(pc.equal(pc.binary_length(keys), 0), "key", "expected text")
    if (twice := _find_twice(keys)) is not None:
        raise DataError(f"{where}: column key: expected each key once, found {shorten(twice, 100)} again")
    kinds = get_args(DepthKind)
    refuse.first(~_is_in(rows, "kind", kinds), "kind", f"expected one of {', '.join(kinds)}")
    height, width = (rows.numbers(name).astype(np.int64) for name in ("height", "width"))
    refuse.first(height < 0, "height", "expected at least 0")
    refuse.first(width < 0, "width", "expected at least 0")
    refuse.first(height * width > MAX_PIXELS, "height x width", over("expected fewer", MAX_PIXELS), height * width)
    fraction = rows.numbers("valid_fraction")
    refuse.first(~((fraction >= 0) & (fraction <= 1)), "valid_fraction", "expected 0 to 1")
    for part in PARTS:
        absent = _is_in(rows, f"{part}_ext", ("",))
        offset, size = rows.numbers(f"{part}_offset"), rows.numbers(f"{part}_bytes")
        refuse.first(absent != (offset == -1), f"{part}_offset", f"expected -1 without a {part}, and only then")
        refuse.first(offset < -1, f"{part}_offset", "expected at least 0")
        refuse.first(size < 0, f"{part}_bytes", "expected at least 0")
        refuse.first(size > MAX_PAYLOAD_BYTES, f"{part}_bytes", over("expected fewer", MAX_PAYLOAD_BYTES))


def check_places(rows: IndexRows, where: str, manifest: Manifest) -> None:
    """Check that each row names a shard of the manifest, and that its parts lie within that.

    Args:
        rows: The rows of an index that `check_rows` has checked.
        where: Name of the file, for messages.
        manifest: The manifest of the set.

    Raises:
        DataError: A row names another shard, or a part lies beyond its end; names row, key and column.
    """
    refuse = _Refuser(rows, where)
    size_of = {shard.name.removeprefix(_SHARDS): shard.bytes for shard in manifest.shards}
    codes, names = rows.codes("shard")
    room = np.array([size_of.get(name, -1) for name in names], np.int64)[codes]
    refuse.first(room < 0, "shard", "expected a shard of the manifest")
    for part in PARTS:
        offset, size = rows.numbers(f"{part}_offset"), rows.numbers(f"{part}_bytes")
        # Not the sum of both, which may exceed int64.
        refuse.first((offset > room) | (size > room - offset), f"{part}_offset", "expected a place within its shard")


class _Refuser:
    def __init__(self, rows: IndexRows, where: str) -> None:
        self._rows, self._where = rows, where

    def first(self, bad: Any, column: str, expected: str, values: Any = None) -> None:
        """Refuse the first row for which `bad`, a boolean column, is true; `values` are those of the column."""
        rows: NDArray[np.intp] = np.flatnonzero(np.asarray(bad))
        if rows.size:
            row = int(rows[0])
            key = self._rows.at(row, "key")
            found = self._rows.at(row, column) if values is None else int(values[row])
            raise DataError(
                f"{self._where}: row {row}, key {shorten(key, 100)}: {column}: {expected}, "
                f"found {shorten(repr(found), 100)}"
            )


def _is_in(rows: IndexRows, column: str, values: tuple[str, ...]) -> NDArray[np.bool_]:
    codes, texts = rows.codes(column)
    found: NDArray[np.bool_] = np.array([text in values for text in texts], np.bool_)[codes]
    return found


def _find_twice(texts: "pa.LargeStringArray") -> str | None:
    """Return a text that occurs twice, None if there is none."""
    import pyarrow.compute as pc

    # Texts without a common hash differ: 8 bytes a text, a third of the time of a table of them.
    hashes = np.empty(len(texts), np.int64)
    for begin in range(0, len(texts), _CHUNK):
        part = texts[begin : begin + _CHUNK].to_pylist()
        hashes[begin : begin + len(part)] = [hash(text) for text in part]
    hashes.sort()
    if not (hashes[1:] == hashes[:-1]).any():
        return None
    counts = pc.value_counts(texts)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    found: str | None = twice[0].as_py() if len(twice) else None
    return found
