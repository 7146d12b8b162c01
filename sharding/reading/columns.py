"""The columns of the index that reading needs, as flat arrays: a loader can put them into shared memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sharding.errors import DataError
from sharding.format.sample import PARTS

if TYPE_CHECKING:
    import pandas as pd


class Column(Protocol):
    """An array with one entry per row: numpy's, or torch's in shared memory."""

    def __getitem__(self, row: int, /) -> Any:
        """Return the value of a row."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...


def flatten(index: "pd.DataFrame", shards: Sequence[str]) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Turn the columns that reading needs into flat numpy arrays; text becomes bytes or numbers.

    Args:
        index: The index or a subset of it, N rows.
        shards: Names of the shard files in the order of the manifest.

    Returns:
        The columns: `key` is uint8 (N, longest key in bytes), zero-padded; all others are int64 (N,). `shard` is the
        position in `shards`; for each part `PART_ext` is the position in the extensions, `PART_offset` (-1 if the
        sample lacks the part) and `PART_bytes` are in bytes, `PART_crc32c` is the checksum. And the extensions.

    Raises:
        DataError: The index names a shard that is not among `shards`.
    """
    exts = tuple(sorted({ext for part in PARTS for ext in index[f"{part}_ext"].unique()}))
    number = {name.rpartition("/")[2]: at for at, name in enumerate(shards)}  # the index leaves out "shards/"
    if unknown := sorted(set(index["shard"]) - set(number)):
        raise DataError(f"the index names shard {unknown[0]}, which the manifest lacks; get a whole copy of the set")
    keys = np.char.encode(index["key"].to_numpy(dtype=np.str_))  # "S" array: fixed width, padded with zeros
    columns: dict[str, Column] = {
        "key": keys.view(np.uint8).reshape(len(index), keys.itemsize),
        "shard": index["shard"].map(number).to_numpy(np.int64),
    }
    for part in PARTS:
        columns[f"{part}_ext"] = index[f"{part}_ext"].map(exts.index).to_numpy(np.int64)
        # int64 for all: torch, which may hold the columns in shared memory, hardly supports uint32.
        for fact in ("offset", "bytes", "crc32c"):
            columns[f"{part}_{fact}"] = index[f"{part}_{fact}"].to_numpy(np.int64)
    return columns, exts
