"""A small index and its manifest, and the same index with a column replaced."""

import io
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sharding.format.index import COLUMNS, Row, build_index
from sharding.format.index_rows import IndexRows
from sharding.format.manifest import Manifest, ShardFile
from sharding.format.sample import DepthFacts
from sharding.format.shard import Span

ROWS, SHARD, SHARD_BYTES = 4, "toy-000000.tar.zst", 5000
MANIFEST = Manifest(
    name="toy",
    dataset="diode",
    split="train",
    tool="depthstream 0",
    made={"seed": 0, "split": "train", "max_side": None},
    source={"files": 3, "fingerprint": "f", "md5": None, "skipped": {"normals": 2}},
    codecs={"depth": {"samples": {"npy": 1}, "max_relative_error": 0.5}},
    samples=ROWS,
    quarantined=1,
    index_sha256="0" * 64,
    shards=(ShardFile(name=f"shards/{SHARD}", samples=ROWS, bytes=SHARD_BYTES, sha256="a1" * 32, compression="zstd"),),
)


def make_index():
    """Four rows; the last has no depth."""
    depth = DepthFacts(kind="metric", valid_fraction=0.5, depth_min=1.0, depth_median=2.0, depth_max=4.0)
    rows = []
    for row in range(ROWS):
        parts = {"image": ("jpg", Span(1000 * row, 100, 1)), "meta": ("json", Span(1000 * row + 900, 100, 2**32 - 1))}
        if row < ROWS - 1:
            parts |= {"depth": ("planes.npy", Span(1000 * row + 100, 700, 0))}
        facts = depth if row < ROWS - 1 else DepthFacts()
        rows.append(Row(key=f"k{row}", shard=SHARD, height=48, width=64, depth=facts, parts=parts))
    return build_index(rows)


@cache
def as_table():
    return pa.Table.from_pandas(make_index(), preserve_index=False).replace_schema_metadata(None)


def as_rows(frame):
    """Rows of an index whose columns are those of a table, stored as they are."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return IndexRows(
        {name: column.combine_chunks() for name, column in zip(table.column_names, table.columns, strict=True)}, COLUMNS
    )


def write(table, **options):
    pq.write_table(table, buffer := io.BytesIO(), **options)
    return buffer.getvalue()


def encode(**columns):
    """The index as a Parquet file, with these columns in place of its own."""
    table = as_table()
    for name, values in columns.items():
        values = values if isinstance(values, pa.Array | pa.ChunkedArray) else as_array(name, values)
        table = table.set_column(list(COLUMNS).index(name), name, values)
    return write(table)


def as_array(column, values):
    return pa.array(values, pa.string() if COLUMNS[column] == "str" else pa.from_numpy_dtype(np.dtype(COLUMNS[column])))
