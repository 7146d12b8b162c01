"""The index columns of a reader in shared memory: loader workers map them instead of copying them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sharding.reading.reader import SampleReader
from training.launch.shared_tensors import to_shared


class SharedColumn:
    """A flat array in shared memory, read through numpy: indexing a tensor for a scalar is thirty times slower.

    Pickles as a tensor does: a worker process gets the mapping, not the values.

    Args:
        tensor: 1-d, in shared memory.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._values = tensor.numpy()

    def __getitem__(self, row: int | slice, /) -> Any:
        return self._values[row]

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedColumn, (self._tensor,)


def share(reader: SampleReader) -> SampleReader:
    """Move a reader's columns into shared memory."""
    return reader.with_columns(lambda column: SharedColumn(to_shared(torch.from_numpy(np.array(column)))))
