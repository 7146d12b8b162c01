"""The columns of the index that reading needs, as flat arrays: a loader can put them into shared memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.parts import KNOWN_EXTS
from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.index_rows import IndexRows
from sharding.format.sample import PARTS
from sharding.format.tool import needed_tool

if TYPE_CHECKING:
    import pyarrow as pa


class Column(Protocol):
    """A flat array: numpy's, or torch's in shared memory."""

    def __getitem__(self, row: int | slice, /) -> Any:
        """Return the value of a row, or those of several."""
        ...

    def __len__(self) -> int:
        """Return the number of values."""
        ...


def check_exts(rows: IndexRows, where: str, tool: str) -> None:
    """Check that each part has an extension for which there is a decoder.

    Args:
        rows: The rows of the index.
        where: Name of the file, for messages.
        tool: Version of the program that made the set, as the manifest has it.

    Raises:
        DataError: An extension is unknown; names it.
    """
    for part, known in KNOWN_EXTS.items():
        for ext in rows.texts(f"{part}_ext"):
            # `depthstream index` keeps capitals, as in the name of the member; only decoders of depth go by them.
            if ext and (ext if part == "depth" else ext.lower()) not in known:
                found = f"{', '.join(sorted(known))}, found {shorten(repr(ext), 80)}"
                raise DataError(f"{where}: column {part}_ext: expected one of {found}; {needed_tool(tool)}")


def flatten(rows: IndexRows, shards: Sequence[str]) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Turn the columns that reading needs into flat numpy arrays; text becomes bytes or numbers.

    Args:
        rows: The rows of the index or a subset of them, N.
        shards: Names of the shard files in the order of the manifest.

    Returns:
        The columns: `key_text` is uint8, the UTF-8 of all keys one after the other, and `key_end` int64 (N,), where
        each ends in it; all others are integers (N,) of any width that holds their values. `shard` is the position in
        `shards`; for each part `PART_ext` is the position in the extensions, `PART_offset` (-1 if the sample lacks the
        part) and `PART_bytes` are in bytes, `PART_crc32c` is the checksum. And the extensions.

    Raises:
        DataError: The index names a shard that is not among `shards`.
    """
    exts = tuple(sorted({ext for part in PARTS for ext in rows.texts(f"{part}_ext")}))
    number = {name.rpartition("/")[2]: at for at, name in enumerate(shards)}  # the index leaves out "shards/"
    if unknown := sorted(set(rows.texts("shard")) - set(number)):
        raise DataError(f"the index names shard {unknown[0]}, which the manifest lacks; get a whole copy of the set")
    text, end = _join(rows.text("key"))
    columns: dict[str, Column] = {"key_text": text, "key_end": end, "shard": _number(rows, "shard", number)}
    place = {ext: at for at, ext in enumerate(exts)}
    for part in PARTS:
        columns[f"{part}_ext"] = _number(rows, f"{part}_ext", place)
        for fact in ("offset", "bytes", "crc32c"):
            columns[f"{part}_{fact}"] = rows.numbers(f"{part}_{fact}")
    return columns, exts


def _number(rows: IndexRows, column: str, number: Mapping[str, int]) -> NDArray[np.signedinteger[Any]]:
    """Return the number of each text of a column; texts that do not occur need none."""
    codes, texts = rows.codes(column)
    kind = np.min_scalar_type(-1 - len(number))
    found: NDArray[np.signedinteger[Any]] = np.array([number.get(text, -1) for text in texts], kind)[codes]
    return found


def _join(texts: "pa.LargeStringArray") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes of all texts, and where each ends: one long text does not make the others longer."""
    _, places, content = texts.buffers()
    # int64 (N + 1,): where each begins, and the end; a subset may share the buffers of the whole.
    at = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    text = np.frombuffer(content or b"", np.uint8)[at[0] : at[-1]]
    return text, at[1:] - at[0] if at[0] else at[1:]  # without a copy, if it can be
