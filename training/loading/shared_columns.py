"""The index columns of a reader in shared memory: loader workers map them instead of copying them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sharding.reading.columns import Column
from sharding.reading.reader import SampleReader
from training.launch.shared_tensors import to_shared


class SharedColumn:
    """A flat array in shared memory, read through numpy: indexing a tensor for a scalar is thirty times slower.

    Pickles as a tensor does: a worker process gets the mapping, not the values.

    Args:
        tensor: uint8, 1-d, in shared memory: the bytes of the values.
        kind: Their type, as numpy writes it; torch hardly knows integers without a sign.
    """

    def __init__(self, tensor: Tensor, kind: str) -> None:
        self._tensor, self._kind = tensor, kind
        self._values = tensor.numpy().view(kind)

    def __getitem__(self, row: int | slice, /) -> Any:
        return self._values[row]

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedColumn, (self._tensor, self._kind)


def share(reader: SampleReader) -> SampleReader:
    """Move a reader's columns into shared memory."""
    return reader.with_columns(share_column)


def share_column(column: Column) -> SharedColumn:
    """Copy an array into shared memory."""
    values = np.asarray(column)
    shared = SharedColumn(to_shared(torch.empty(values.nbytes, dtype=torch.uint8)), values.dtype.str)
    shared._values[:] = values
    return shared
