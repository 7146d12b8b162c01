"""The columns of the index that reading needs, as flat arrays."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sharding.errors import DataError
from sharding.format.sample import PARTS

if TYPE_CHECKING:
    import pandas as pd


class Column(Protocol):
    """A flat array: numpy's, or torch's in shared memory."""

    def __getitem__(self, row: int, /) -> Any:
        """The value of a row."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...


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
