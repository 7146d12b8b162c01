"""A batch on its way from a loader worker to its trainer: all tensors in one block of shared memory.

torch transfers each block of shared memory over a separate connection to the worker: about a millisecond per tensor,
during which the trainer waits (`torch.multiprocessing.reductions`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

_ALIGNED = 64  # bytes: a cache line, and a multiple of every dtype's item size, as `Tensor.view(dtype)` requires

Placed = tuple[str, int, torch.dtype, tuple[int, ...]]
"""Name, first byte in the storage, dtype and shape of a tensor."""


class SharedBatch(dict[str, Any]):
    """A batch of a worker; a plain dict once it is unpickled in the trainer.

        storage     image (B, 3, H, W) | padding to 64 bytes | depth (B, 1, H, W) | padding | ...

    Args:
        storage: Shared memory, uint8 (n,).
        placed: The tensors in it.
        others: Values that are not in `storage`, such as keys.
    """

    def __init__(self, storage: Tensor, placed: Sequence[Placed], others: Mapping[str, Any]) -> None:
        super().__init__(open_shared_batch(storage, placed, others))
        self._sent = storage, tuple(placed), dict(others)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call of `open_shared_batch`: one tensor, the storage, instead of the views into it."""
        return open_shared_batch, self._sent


def open_shared_batch(storage: Tensor, placed: Sequence[Placed], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch: `others`, and tensors that are views into `storage`."""
    batch = dict(others)
    # uint8 bytes [start, start + num_bytes) -> dtype -> (B, ...), without a copy.
    for name, start, dtype, shape in placed:
        num_bytes = torch.Size(shape).numel() * dtype.itemsize
        batch[name] = storage[start : start + num_bytes].view(dtype).view(shape)
    return batch


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate as torch's `default_collate` does; in a worker, all tensors of the items go into one `SharedBatch`.

    Args:
        items: The samples of a batch; tensors of the same name have the same shape and dtype.
    """
    if get_worker_info() is None:
        batch: dict[str, Any] = default_collate(list(items))
        return batch
    # All offsets first: a block of shared memory cannot grow.
    placed, end = [], 0
    for name, value in items[0].items():
        if isinstance(value, Tensor):
            placed.append((name, end, value.dtype, (len(items), *value.shape)))
            end += -(-len(items) * value.nbytes // _ALIGNED) * _ALIGNED  # rounded up
    # Shared from the start, so that sending it copies nothing.
    storage = torch.empty(0, dtype=torch.uint8).new(torch.UntypedStorage._new_shared(end))  # uint8 (end,)
    tensors = {name for name, *_ in placed}
    others = {name: default_collate([one[name] for one in items]) for name in items[0].keys() - tensors}
    batch = SharedBatch(storage, placed, others)
    for name in tensors:
        torch.stack([one[name] for one in items], out=batch[name])  # written into the storage directly
    return batch
