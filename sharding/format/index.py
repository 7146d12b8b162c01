"""The index: one row per sample, in shard order; gives counts, subsets and byte ranges without opening a shard.

Defines the columns (docs/format.md lists them) and how they are written as Parquet and read.
"""

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError, UsageError
from sharding.escaping import shorten
from sharding.format.index_checks import check_places, check_rows
from sharding.format.index_rows import IndexRows
from sharding.format.manifest import MANIFEST_NAME, Manifest
from sharding.format.origin import Origin
from sharding.format.parquet_table import read_table, release_unused
from sharding.format.sample import PARTS, DepthFacts
from sharding.format.shard import Span
from sharding.format.strict_json import Pixels, Text
from sharding.format.where import find_samples
from sharding.format.where_text import EXAMPLE

if TYPE_CHECKING:
    import pandas as pd  # takes half a second, so only the functions that make a table import it

INDEX_NAME = "index.parquet"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the index.

    Attributes:
        key: Key of the sample.
        shard: File name of its shard below `shards/`.
        origin: Place in the data set: the columns `split`, `scene`, `scan` and `scene_type`.
        height, width: Size of the image in pixels.
        depth: Statistics of its depth map.
        parts: Part -> (extension, place of the stored bytes), for each part it has.
    """

    key: Text
    shard: Text
    origin: Origin = field(default_factory=Origin)
    height: Pixels = 0
    width: Pixels = 0
    depth: DepthFacts = field(default_factory=DepthFacts)
    parts: dict[str, tuple[str, Span]] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the row as column -> value; a part the sample lacks has extension "" and offset -1."""
        values = {"key": self.key, "shard": self.shard, "height": self.height, "width": self.width}
        values |= dataclasses.asdict(self.origin) | dataclasses.asdict(self.depth)
        for part in PARTS:
            ext, span = self.parts.get(part, ("", Span(-1, 0, 0)))
            values |= {
                f"{part}_ext": ext,
                f"{part}_offset": span.offset,
                f"{part}_bytes": span.bytes,
                f"{part}_crc32c": span.crc32c,
            }
        return values


def _types() -> dict[str, str]:
    """Return pandas dtypes by column, in the order of the columns in the file."""
    types = dict.fromkeys(("key", "shard", "split", "scene", "scan", "scene_type", "kind"), "str")
    types |= {"height": "int32", "width": "int32", "valid_fraction": "float32"}
    types |= dict.fromkeys(("depth_min", "depth_median", "depth_max"), "float32")
    for part in PARTS:
        # Offsets exceed 2 GiB in a large shard; a CRC-32C uses all 32 bits.
        types |= {f"{part}_ext": "str", f"{part}_offset": "int64", f"{part}_bytes": "int64", f"{part}_crc32c": "uint32"}
    return types


COLUMNS: dict[str, str] = _types()
"""Columns of the index and their types."""


def build_index(rows: Sequence[Row]) -> "pd.DataFrame":
    """Make the table from rows that are in shard order.

    Raises:
        DataError: A key occurs twice.
    """
    import pandas as pd

    frame = pd.DataFrame([row.columns() for row in rows], columns=list(COLUMNS)).astype(COLUMNS)
    if (twice := frame["key"][frame["key"].duplicated()]).size:
        raise DataError(f"keys must be unique in a set; {twice.size} are not, the first is {twice.iloc[0]!r}")
    return frame


def encode_index(frame: "pd.DataFrame") -> bytes:
    """Write the table as Parquet."""
    # These bytes may differ between versions of pyarrow; the identity of a set is made of shards alone.
    buffer = io.BytesIO()
    # Keys are not in a dictionary, in which each would come once: so they can be read as they are.
    repeated = [name for name in frame.columns if name != "key"]
    frame.to_parquet(buffer, index=False, compression="zstd", use_dictionary=repeated)
    return buffer.getvalue()


def read_index(data: bytes, where: str, manifest: Manifest | None = None) -> IndexRows:
    """Read what `encode_index` wrote, from anywhere; what else is in the file is ignored.

    Args:
        data: A Parquet file.
        where: Name of the file, for messages.
        manifest: The manifest of its set, with which it must agree; None if there is none yet.

    Raises:
        DataError: It is no Parquet file, lacks columns, or holds values that no set has; names row and column.
    """
    rows = IndexRows(read_table(data, where, COLUMNS, None if manifest is None else manifest.samples), COLUMNS)
    check_rows(rows, where)
    if manifest is not None:
        check_places(rows, where, manifest)
    release_unused()  # what decompressing and the checks took: a fifth of the rows
    return rows


def decode_index(data: bytes, where: str, manifest: Manifest | None = None) -> "pd.DataFrame":
    """Read an index as `read_index` does, into a table of pandas."""
    return read_index(data, where, manifest).to_frame()


def check_readable(manifest: Manifest, index: bytes) -> bytes:
    """Check that a set which was just made can be opened, before it is written; return the encoded manifest.

    Args:
        manifest: Its manifest.
        index: Its encoded index.

    Raises:
        DataError: It cannot, because it is larger than what is read for example.
    """
    encoded = manifest.encode()
    Manifest.decode(encoded, MANIFEST_NAME)
    read_index(index, INDEX_NAME, manifest)
    return encoded


def select(frame: "pd.DataFrame", where: str | None) -> "pd.DataFrame":
    """Return the rows that meet the condition `where` (None: all); row labels stay those of the whole index.

    Raises:
        UsageError: It is no condition on the columns, or selects nothing; see `sharding.format.where`.
    """
    return frame if where is None else frame.loc[_find(frame, where)]


def select_rows(rows: IndexRows, where: str | None) -> IndexRows:
    """Return the rows that meet a condition, as `select` does."""
    return rows if where is None else rows.chosen(_find(rows, where))


def _find(frame: "pd.DataFrame | IndexRows", where: str) -> NDArray[np.bool_]:
    if not isinstance(where, str):
        raise UsageError(f'--where: expected text such as "{EXAMPLE}", found {type(where).__name__}')
    try:
        found = find_samples(frame, where)
    except UsageError as error:
        raise UsageError(f"--where {shorten(where)!r}: {error}") from error
    if not found.any():
        raise UsageError(f"--where {shorten(where)!r} selects none of {len(frame)} samples")
    return found
