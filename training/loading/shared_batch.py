"""A batch on its way from a loader worker to its trainer: all tensors in one block of shared memory, used again.

torch transfers each block of shared memory over a separate connection to the worker: about a millisecond per tensor,
during which the trainer waits (`torch.multiprocessing.reductions`). And the kernel clears every page of a new block:
300 pages, nearly a millisecond, for two views of 224 x 224 pixels. So a worker fills a block again as soon as the
trainer has dropped all tensors in it, which a byte in the block tells (`training.loading.shared_blocks`).
"""

import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from training.loading.shared_blocks import ALIGNED, FREE, MAPPED, SLOTS, Block, Sender, slots_here


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a tensor lies in the payload of a block: its first byte, dtype and shape."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class SharedBatch(dict[str, Any]):
    """A batch of a worker; a plain dict once it is unpickled in the trainer.

    Args:
        block: In use.
        placed: The batch, with a `Placed` in place of each tensor.
    """

    def __init__(self, block: Block, placed: Mapping[str, Any]) -> None:
        super().__init__(_open(block.payload, placed))
        self._block, self._placed = block, dict(placed)

    def __setitem__(self, name: str, value: Any) -> None:
        """Add an entry that is no tensor; it is sent, too."""
        super().__setitem__(name, value)
        self._placed[name] = value

    def free(self) -> None:
        """Mark the block as free; the batch is not to be used after that."""
        self._block.free()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call of `open_shared_batch`: one tensor, the block, instead of the views into it."""
        return open_shared_batch, (self._block.memory, SLOTS.sender(self._block), self._placed)


def open_shared_batch(memory: Tensor, sender: Sender, placed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch, whose tensors are views into `memory`; the block is free once the last of them is gone."""
    MAPPED.keep(sender, memory)
    block = memory.numpy()
    payload = block[ALIGNED:]
    # A tensor made from an array keeps the array alive, for as long as any view of that tensor lives.
    weakref.finalize(payload, _free, block, os.getpid()).atexit = False
    return _open(torch.from_numpy(payload), placed)


def _free(block: NDArray[np.uint8], owner: int) -> None:
    if os.getpid() == owner:  # a process that is forked from the trainer drops copies
        block[0] = FREE


def _open(payload: Tensor, placed: Mapping[str, Any]) -> dict[str, Any]:
    def view(place: Any) -> Any:
        if not isinstance(place, Placed):
            return place
        # uint8 bytes [start, start + num_bytes) -> dtype -> (B, ...), without a copy.
        num_bytes = torch.Size(place.shape).numel() * place.dtype.itemsize
        return payload[place.start : place.start + num_bytes].view(place.dtype).view(place.shape)

    opened: dict[str, Any] = _map(placed, view)
    return opened


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a nested value with `change` applied to all that is no dict and no list."""
    if isinstance(value, Mapping):
        return {name: _map(one, change) for name, one in value.items()}
    return [_map(one, change) for one in value] if type(value) is list else change(value)


class Unmade(Sized, Iterable[dict[str, Any]]):
    """The items of a batch, each made when it is asked for: `collate` copies it away before the next is made.

    Args:
        count: How many there are.
        items: Makes them; it is consumed once.
    """

    def __init__(self, count: int, items: Iterator[dict[str, Any]]) -> None:
        self._count, self._items = count, items

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._items


def collate(items: Sequence[dict[str, Any]] | Unmade) -> dict[str, Any]:
    """Collate as torch's `default_collate` does; in a worker, all tensors of the items go into one `SharedBatch`.

    (So they do within `as_worker`.)

    Args:
        items: The samples of a batch: tensors, other values, and dicts and lists of them.

    Raises:
        RuntimeError: An item's tensor has another shape or dtype than that of the first item.
    """
    if (slots := slots_here()) is None:
        batch: dict[str, Any] = default_collate(list(items))
        return batch
    made = iter(items)
    first = next(made)
    layout = _Layout(len(items))
    placed: dict[str, Any] = _map(first, layout.place)
    block = slots.take(layout.end)
    shared = SharedBatch(block, placed)
    with freed_on_error(shared):
        for number, item in zip(range(len(items)), itertools.chain([first], made), strict=True):
            _put(shared, item, number)
    return SharedBatch(block, _map(placed, _collate_others))


@contextmanager
def freed_on_error(batch: dict[str, Any]) -> Iterator[None]:
    """Free the block of a batch that fails to be filled: no trainer will."""
    try:
        yield
    except BaseException:
        if isinstance(batch, SharedBatch):
            batch.free()
        raise


def make_batch(
    tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], others: Mapping[str, Any], *, varies: bool = False
) -> dict[str, Any]:
    """Make a batch to be filled.

    Args:
        tensors: Dtype and shape of each; in a worker, and within `as_worker`, they are in one `SharedBatch`.
        others: Other values.
        varies: Whether the sizes of batches differ.
    """
    if (slots := slots_here()) is None:
        return {name: torch.empty(shape, dtype=dtype) for name, (dtype, shape) in tensors.items()} | dict(others)
    layout = _Layout(len(tensors))
    placed = {name: layout.add(dtype, shape) for name, (dtype, shape) in tensors.items()}
    spare = layout.end // 4 if varies else 0
    return SharedBatch(slots.take(layout.end, spare), placed | dict(others))


@dataclass(frozen=True)
class _Others:
    """The values of the items at a place that is no tensor's, as far as they are made."""

    values: list[Any]


class _Layout:
    """Lays the tensors of a batch out one after the other, before there is a block: one cannot grow.

    Attributes:
        end: Bytes of all tensors so far, padded.
    """

    def __init__(self, count: int) -> None:
        self.end = 0
        self._count = count

    def place(self, value: Any) -> Any:
        """Return the place of all the items' tensors like this one, or of their other values."""
        if not isinstance(value, Tensor):
            return _Others([])
        return self.add(value.dtype, (self._count, *value.shape))

    def add(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Placed:
        """Return the place of one more tensor."""
        place = Placed(self.end, dtype, shape)
        num_bytes = torch.Size(shape).numel() * dtype.itemsize
        self.end += -(-num_bytes // ALIGNED) * ALIGNED  # rounded up
        return place


def _put(batch: Any, value: Any, number: int) -> None:
    """Copy the value of an item to its place in the batch."""
    if isinstance(batch, Tensor):
        if (value.dtype, value.shape) != (batch.dtype, batch.shape[1:]):
            raise RuntimeError(
                f"the items of a batch differ: expected {batch.dtype} {tuple(batch.shape[1:])}, found {value.dtype} "
                f"{tuple(value.shape)}"
            )
        _copy(value, batch[number])  # written into the block directly
    elif isinstance(batch, _Others):
        batch.values.append(value)
    elif isinstance(batch, dict):
        for name, one in batch.items():
            _put(one, value[name], number)
    else:
        for one, part in zip(batch, value, strict=True):
            _put(one, part, number)


def _copy(value: Tensor, to: Tensor) -> None:
    """Copy a tensor to a contiguous one; views that are channels last in memory in half of torch's time."""
    if value.dtype == torch.float32 and value.ndim == 3 and len(value) == 3 and value.permute(1, 2, 0).is_contiguous():
        cv2.split(value.permute(1, 2, 0).numpy(), list(to.numpy()))  # (h, w, 3) -> 3 planes (h, w), in place
    else:
        to.copy_(value)


def _collate_others(place: Any) -> Any:
    return default_collate(place.values) if isinstance(place, _Others) else place
