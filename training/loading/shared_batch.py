"""A batch on its way from a loader worker to its trainer: all tensors in one block of shared memory, used again.

torch transfers each block of shared memory over a separate connection to the worker: about a millisecond per tensor,
during which the trainer waits (`torch.multiprocessing.reductions`). And the kernel clears every page of a new block:
300 pages, nearly a millisecond, for two views of 224 x 224 pixels. So a worker fills a block again as soon as the
trainer has dropped all tensors in it, which a byte in the block tells.
"""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

_ALIGNED = 64  # bytes: a cache line, and a multiple of every dtype's item size, as `Tensor.view(dtype)` requires
_MOST_SLOTS = 8  # blocks that a worker keeps; more are in use only if the trainer collects batches
_FREE, _IN_USE = 0, 1


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a tensor lies in the payload of a block: its first byte, dtype and shape."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Slots:
    """The blocks of shared memory of a worker.

    byte 0: whether the trainer still has tensors of it | padding to 64 bytes | payload
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []

    def take(self, size: int) -> Tensor:
        """Return a block for `size` bytes of payload, marked as in use: uint8 (64 + size or more,), shared."""
        wanted = _ALIGNED + size
        free = [block for block in self._blocks if block[0] == _FREE]
        fitting = min((block for block in free if len(block) >= wanted), key=len, default=None)
        block = fitting if fitting is not None else self._add(wanted, free)
        block[0] = _IN_USE
        return block

    def _add(self, size: int, free: Sequence[Tensor]) -> Tensor:
        block: Tensor = torch.empty(size, dtype=torch.uint8).share_memory_()
        too_small = {id(one) for one in free}  # batches have become larger: these would stay unused
        self._blocks = [one for one in self._blocks if id(one) not in too_small]
        if len(self._blocks) < _MOST_SLOTS:
            self._blocks.append(block)
        return block


_SLOTS = Slots()  # of this process, if it is a worker


class SharedBatch(dict[str, Any]):
    """A batch of a worker; a plain dict once it is unpickled in the trainer.

    Args:
        block: See `Slots`.
        placed: The batch, with a `Placed` in place of each tensor.
    """

    def __init__(self, block: Tensor, placed: Mapping[str, Any]) -> None:
        super().__init__(_open(block[_ALIGNED:], placed))
        self._sent = block, dict(placed)

    def __setitem__(self, name: str, value: Any) -> None:
        """Add an entry that is no tensor; it is sent, too."""
        super().__setitem__(name, value)
        self._sent[1][name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call of `open_shared_batch`: one tensor, the block, instead of the views into it."""
        return open_shared_batch, self._sent


def open_shared_batch(block: Tensor, placed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch, whose tensors are views into `block`; the block is free once the last of them is gone."""
    memory = block.numpy()
    payload = memory[_ALIGNED:]
    # A tensor made from an array keeps the array alive, for as long as any view of that tensor lives.
    weakref.finalize(payload, _free, memory, os.getpid()).atexit = False
    return _open(torch.from_numpy(payload), placed)


def _free(memory: NDArray[np.uint8], owner: int) -> None:
    if os.getpid() == owner:  # a process that is forked from the trainer drops copies
        memory[0] = _FREE


def _open(payload: Tensor, placed: Mapping[str, Any]) -> dict[str, Any]:
    opened: dict[str, Any] = _replace(placed, lambda place: _view(payload, place))
    return opened


def _view(payload: Tensor, place: Placed) -> Tensor:
    # uint8 bytes [start, start + num_bytes) -> dtype -> (B, ...), without a copy.
    num_bytes = torch.Size(place.shape).numel() * place.dtype.itemsize
    return payload[place.start : place.start + num_bytes].view(place.dtype).view(place.shape)


def _replace(value: Any, view: Callable[[Placed], Tensor]) -> Any:
    """Return a nested value with each `Placed` in it replaced by its tensor."""
    if isinstance(value, Placed):
        return view(value)
    if isinstance(value, Mapping):
        return {name: _replace(one, view) for name, one in value.items()}
    return [_replace(one, view) for one in value] if isinstance(value, list) else value


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate as torch's `default_collate` does; in a worker, all tensors of the items go into one `SharedBatch`.

    Args:
        items: The samples of a batch: tensors, other values, and dicts and lists of them. Tensors at the same place
            have the same shape and dtype.
    """
    if get_worker_info() is None:
        batch: dict[str, Any] = default_collate(list(items))
        return batch
    layout = _Layout()
    placed: dict[str, Any] = layout.place(items)
    block = _SLOTS.take(layout.end)
    for place, tensors in layout.stacks:
        torch.stack(tensors, out=_view(block[_ALIGNED:], place))  # written into the block directly
    return SharedBatch(block, placed)


class _Layout:
    """Lays the tensors of a batch out one after the other, before there is a block: one cannot grow.

    Attributes:
        end: Bytes of all tensors so far, padded.
        stacks: For each place the tensors of the items.
    """

    def __init__(self) -> None:
        self.end = 0
        self.stacks: list[tuple[Placed, list[Tensor]]] = []

    def place(self, values: Sequence[Any]) -> Any:
        """Return what `default_collate` would, with a `Placed` for each tensor; `values` are those of the items."""
        first = values[0]
        if isinstance(first, Tensor):
            place = Placed(self.end, first.dtype, (len(values), *first.shape))
            self.end += -(-len(values) * first.nbytes // _ALIGNED) * _ALIGNED  # rounded up
            self.stacks.append((place, list(values)))
            return place
        if isinstance(first, dict):
            return {name: self.place([value[name] for value in values]) for name in first}
        if isinstance(first, list):
            return [self.place(column) for column in zip(*values, strict=True)]
        return default_collate(list(values))
