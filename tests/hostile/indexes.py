"""Indexes: each column with each wrong content, and files that are no index. The manifest has their hash."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.case import Case, anything
from tests.hostile.worlds import SAMPLES, World

TEXT = ("key", "shard", "kind", "image_ext", "depth_ext")
NUMBERS = ("height", "width", "image_offset", "image_bytes", "depth_offset", "depth_bytes", "image_crc32c")
LONG = "k" * 3_000_000
FOR_TEXT: dict[str, list[Any]] = {
    "numbers": [1, 2, 3], "nulls": [None] * 3, "lists": [[1], [2], [3]], "bytes": [b"\xff"] * 3, "long": [LONG] * 3,
    "controls": ["\x1b[2J"] * 3, "a path": ["../../x"] * 3, "objects": [{"a": 1}] * 3,
}  # fmt: skip
FOR_NUMBERS: dict[str, list[Any]] = {
    "text": ["1", "2", "3"], "nulls": [None, 1, 2], "negative": [-5] * 3, "huge": [2**62] * 3, "fractions": [0.5] * 3,
    "not finite": [float("nan")] * 3, "lists": [[1], [2], [3]],
}  # fmt: skip


def seal(folder: Path, data: bytes) -> None:
    """Write an index into a set, and its hash into the manifest."""
    (folder / "index.parquet").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["index_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def parquet(table: pa.Table, **options: Any) -> bytes:
    """Encode a table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return bytes(sink.getvalue())


def changed(change: Callable[[pa.Table], pa.Table], *words: str) -> Any:
    """Build a set whose index was changed."""

    def build(folder: Path, world: World) -> list[str]:
        target = world.copy_set(folder)
        seal(target, parquet(change(pq.read_table(target / "index.parquet"))))
        return list(words or ("verify", "set"))

    return build


def column(name: str, values: list[Any]) -> Any:
    """Build a set one of whose columns has other content."""
    return changed(lambda table: table.set_column(table.column_names.index(name), name, pa.array(values)))


def bytes_of(make: Callable[[bytes], bytes]) -> Any:
    """Build a set whose index has other bytes."""

    def build(folder: Path, world: World) -> list[str]:
        target = world.copy_set(folder)
        seal(target, make((target / "index.parquet").read_bytes()))
        return ["inspect", "set"]

    return build


def _inflating(table: pa.Table) -> pa.Table:
    """20 GB of text in a few kilobytes: one long value, of which Parquet stores the dictionary alone."""
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 1_000_000]))
    return pa.table({name: many if name == "key" else pa.array([0] * 20_000) for name in table.column_names})


def _rows(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table] * 100_000)


CASES = [
    *(
        Case(f"indexes/{name} has {label}", column(name, values))
        for name in TEXT
        for label, values in FOR_TEXT.items()
        if (name, label) != ("kind", "a path")
    ),
    *(
        Case(f"indexes/{name} has {label}", column(name, values))
        for name in NUMBERS
        for label, values in FOR_NUMBERS.items()
        if (name, label) != ("image_crc32c", "huge")
    ),
    *(
        Case(f"indexes/no {name}", changed(lambda table, name=name: table.drop([name])))  # type: ignore[misc]
        for name in (*TEXT, *NUMBERS)
    ),
    Case("indexes/a key twice", column("key", ["a", "a", "b"])),
    Case("indexes/an empty key", column("key", ["", "a", "b"])),
    Case("indexes/spans beyond the shard", column("image_offset", [10**9] * SAMPLES)),
    Case("indexes/spans of 3 GB", column("image_bytes", [3 * 10**9] * SAMPLES)),
    Case("indexes/pickles", column("image_ext", ["pickle", "pkl", "pth"])),
    Case("indexes/no rows", changed(lambda table: table.slice(0, 0))),
    Case("indexes/a row less", changed(lambda table: table.slice(1))),
    Case("indexes/a row more", changed(lambda table: pa.concat_tables([table, table.slice(0, 1)]))),
    Case("indexes/300,000 rows", changed(_rows)),
    Case("indexes/20 GB of text", changed(_inflating)),
    Case("indexes/foreign pandas metadata", changed(
        lambda table: table.replace_schema_metadata({b"pandas": b'{"index_columns": ["key"], "columns": 7}'}), "inspect", "set"
    ), lambda folder, said: _assert_samples(said)),
    Case("indexes/pandas metadata that is no JSON", changed(
        lambda table: table.replace_schema_metadata({b"pandas": b"\xff\x00{"}), "inspect", "set"
    ), lambda folder, said: _assert_samples(said)),
    Case("indexes/columns twice", changed(lambda table: table.append_column("key", table["key"]))),
    Case("indexes/empty", bytes_of(lambda data: b"")),
    Case("indexes/cut", bytes_of(lambda data: data[: len(data) // 2])),
    Case("indexes/text", bytes_of(lambda data: b"key,shard\na,b\n")),
    Case("indexes/a length of 2**31", bytes_of(lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1")),
    Case("indexes/a damaged footer", bytes_of(lambda data: data[:-40] + bytes(32) + data[-8:]), lambda folder, said: _assert_samples(said)),
    Case("indexes/a footer of zeros", bytes_of(lambda data: data[:-400] + bytes(392) + data[-8:])),
    *(
        Case(f"indexes/a byte at {share} %", bytes_of(lambda data, share=share: _flipped(data, share)), anything)  # type: ignore[misc]
        for share in range(5, 100, 9)
    ),
]  # fmt: skip


def _flipped(data: bytes, share: int) -> bytes:
    place = len(data) * share // 100
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def _assert_samples(said: str) -> None:
    assert f"{SAMPLES} samples" in said, said
