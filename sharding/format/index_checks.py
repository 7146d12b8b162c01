"""What must hold for the rows of an index that nobody vouches for, checked over whole columns."""

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.manifest import Manifest
from sharding.format.sample import PARTS, DepthKind
from sharding.limits import MAX_PAYLOAD_BYTES, MAX_PIXELS, over

if TYPE_CHECKING:
    import pyarrow as pa

_SHARDS = "shards/"


def check_rows(table: "pa.Table", where: str) -> None:
    """Check what a row must be by itself, and that no key comes twice.

    Args:
        table: The columns of an index, as `read_table` returns them.
        where: Name of the file, for messages.

    Raises:
        DataError: A row is none; names row, key and column.
    """
    import pyarrow.compute as pc

    refuse = _Refuser(table, where)
    refuse.first(pc.equal(table["key"], ""), "key", "expected text")
    if pc.count_distinct(table["key"]).as_py() != len(table):
        raise DataError(f"{where}: column key: expected each key once, found {_twice(table)} again")
    kinds = get_args(DepthKind)
    refuse.first(~_is_in(table["kind"], kinds), "kind", f"expected one of {', '.join(kinds)}")
    height, width = (table[name].to_numpy().astype(np.int64) for name in ("height", "width"))
    refuse.first(height < 0, "height", "expected at least 0")
    refuse.first(width < 0, "width", "expected at least 0")
    refuse.first(height * width > MAX_PIXELS, "height x width", over("expected fewer", MAX_PIXELS), height * width)
    fraction = table["valid_fraction"].to_numpy()
    refuse.first(~((fraction >= 0) & (fraction <= 1)), "valid_fraction", "expected 0 to 1")
    for part in PARTS:
        absent = np.asarray(pc.equal(table[f"{part}_ext"], ""))
        offset, size = table[f"{part}_offset"].to_numpy(), table[f"{part}_bytes"].to_numpy()
        refuse.first(absent != (offset == -1), f"{part}_offset", f"expected -1 without a {part}, and only then")
        refuse.first(offset < -1, f"{part}_offset", "expected at least 0")
        refuse.first(size < 0, f"{part}_bytes", "expected at least 0")
        refuse.first(size > MAX_PAYLOAD_BYTES, f"{part}_bytes", over("expected fewer", MAX_PAYLOAD_BYTES))


def check_places(table: "pa.Table", where: str, manifest: Manifest) -> None:
    """Check that each row names a shard of the manifest, and that its parts lie within that.

    Args:
        table: The columns of an index that `check_rows` has checked.
        where: Name of the file, for messages.
        manifest: The manifest of the set.

    Raises:
        DataError: A row names another shard, or a part lies beyond its end; names row, key and column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    refuse = _Refuser(table, where)
    names = pa.array([shard.name.removeprefix(_SHARDS) for shard in manifest.shards], pa.large_string())
    number = pc.index_in(table["shard"], value_set=names)  # null where there is none
    refuse.first(pc.is_null(number), "shard", "expected a shard of the manifest")
    sizes = np.array([shard.bytes for shard in manifest.shards], np.int64)
    room = sizes[number.to_numpy()]
    for part in PARTS:
        offset, size = table[f"{part}_offset"].to_numpy(), table[f"{part}_bytes"].to_numpy()
        # Not the sum of both, which may exceed int64.
        refuse.first((offset > room) | (size > room - offset), f"{part}_offset", "expected a place within its shard")


class _Refuser:
    def __init__(self, table: "pa.Table", where: str) -> None:
        self._table, self._where = table, where

    def first(self, bad: Any, column: str, expected: str, values: Any = None) -> None:
        """Refuse the first row for which `bad`, a boolean column, is true; `values` are those of the column."""
        rows: NDArray[np.intp] = np.flatnonzero(np.asarray(bad))
        if rows.size:
            row = int(rows[0])
            key, found = self._table["key"][row].as_py(), (self._table[column] if values is None else values)[row]
            found = found.as_py() if values is None else int(found)
            raise DataError(
                f"{self._where}: row {row}, key {shorten(key, 100)}: {column}: {expected}, "
                f"found {shorten(repr(found), 100)}"
            )


def _is_in(column: "pa.ChunkedArray", values: tuple[str, ...]) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.is_in(column, value_set=pa.array(values, pa.large_string())))


def _twice(table: "pa.Table") -> str:
    import pyarrow.compute as pc

    counts = pc.value_counts(table["key"])
    key = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
    return shorten(key, 100)
