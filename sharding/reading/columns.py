"""The columns of the index that reading needs, as flat arrays: a loader can put them into shared memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.parts import KNOWN_EXTS
from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.sample import PARTS

if TYPE_CHECKING:
    import pandas as pd


class Column(Protocol):
    """A flat array: numpy's, or torch's in shared memory."""

    def __getitem__(self, row: int | slice, /) -> Any:
        """Return the value of a row, or those of several."""
        ...

    def __len__(self) -> int:
        """Return the number of values."""
        ...


def check_exts(index: "pd.DataFrame", where: str) -> None:
    """Check that each part has an extension for which there is a decoder.

    Args:
        index: The index.
        where: Name of the file, for messages.

    Raises:
        DataError: An extension is unknown; names it.
    """
    for part, known in KNOWN_EXTS.items():
        for ext in index[f"{part}_ext"].unique():
            # `depthstream index` keeps capitals, as in the name of the member; only decoders of depth go by them.
            if ext and (ext if part == "depth" else ext.lower()) not in known:
                found = shorten(repr(ext), 80)
                raise DataError(
                    f"{where}: column {part}_ext: expected one of {', '.join(sorted(known))}, found {found}"
                )


def flatten(index: "pd.DataFrame", shards: Sequence[str]) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Turn the columns that reading needs into flat numpy arrays; text becomes bytes or numbers.

    Args:
        index: The index or a subset of it, N rows.
        shards: Names of the shard files in the order of the manifest.

    Returns:
        The columns: `key_text` is uint8, the UTF-8 of all keys one after the other, and `key_end` int64 (N,), where
        each ends in it; all others are int64 (N,). `shard` is the position in `shards`; for each part `PART_ext` is the
        position in the extensions, `PART_offset` (-1 if the sample lacks the part) and `PART_bytes` are in bytes,
        `PART_crc32c` is the checksum. And the extensions.

    Raises:
        DataError: The index names a shard that is not among `shards`.
    """
    exts = tuple(sorted({ext for part in PARTS for ext in index[f"{part}_ext"].unique()}))
    number = {name.rpartition("/")[2]: at for at, name in enumerate(shards)}  # the index leaves out "shards/"
    if unknown := sorted(set(index["shard"].unique()) - set(number)):
        raise DataError(f"the index names shard {unknown[0]}, which the manifest lacks; get a whole copy of the set")
    text, end = _join(index["key"])
    columns: dict[str, Column] = {
        "key_text": text,
        "key_end": end,
        "shard": index["shard"].map(number).to_numpy(np.int64),
    }
    for part in PARTS:
        place = {ext: at for at, ext in enumerate(exts)}
        columns[f"{part}_ext"] = index[f"{part}_ext"].map(place).to_numpy(np.int64)
        # int64 for all: torch, which may hold the columns in shared memory, hardly supports uint32.
        for fact in ("offset", "bytes", "crc32c"):
            columns[f"{part}_{fact}"] = index[f"{part}_{fact}"].to_numpy(np.int64)
    return columns, exts


def _join(texts: "pd.Series[str]") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes of all texts, and where each ends: one long text does not make the others longer."""
    import pyarrow as pa

    array = pa.array(texts, type=pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    _, places, content = array.buffers()
    # int64 (N + 1,): where each begins, and the end; a subset may share the buffers of the whole.
    at = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(content or b"", np.uint8)[at[0] : at[-1]]
    return text, at[1:] - at[0]
