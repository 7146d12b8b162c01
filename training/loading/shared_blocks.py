"""The blocks of shared memory in which workers hand batches over.

    byte 0: whether the trainer still has tensors of it | padding to 64 bytes | payload

A worker fills a block again once it is free, and the trainer keeps it mapped meanwhile: torch would map it anew for
each batch, and the trainer would take its pages once more (`torch.multiprocessing.reductions` finds what is mapped).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from training.launch.shared_tensors import to_shared

ALIGNED = 64
"""Bytes before the payload: a cache line, and a multiple of all item sizes, as `Tensor.view(dtype)` requires."""

FREE, IN_USE = 0, 1
"""Values of byte 0."""

_MOST_SLOTS = 8  # blocks that a worker keeps; more are in use only if the trainer collects batches


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a worker.

    Attributes:
        number: Which of its blocks it is, counted from the worker's start.
        memory: uint8 (64 + size,), shared.
    """

    number: int
    memory: Tensor

    @property
    def payload(self) -> Tensor:
        """Return what follows byte 0 and its padding: uint8 (size,)."""
        return self.memory[ALIGNED:]

    @property
    def is_free(self) -> bool:
        """Tell whether the trainer has no tensor of it."""
        return int(self.memory[0]) == FREE

    def take(self) -> "Block":
        """Mark it as in use, and return it."""
        self.memory[0] = IN_USE
        return self

    def free(self) -> None:
        """Mark it as free."""
        self.memory[0] = FREE


@dataclass(frozen=True, slots=True)
class Sender:
    """What a worker tells of a block that it sends.

    Attributes:
        pid: Of the worker.
        number: Of the block.
        kept: The numbers of all blocks that will be sent again.
    """

    pid: int
    number: int
    kept: frozenset[int]


class Slots:
    """The blocks of a worker."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._made = 0

    def take(self, size: int, spare: int = 0) -> Block:
        """Return a block for `size` bytes of payload or more, in use.

        A new block has `spare` bytes more, for batches whose sizes differ.
        """
        free = [block for block in self._blocks if block.is_free]
        fitting = [block for block in free if len(block.payload) >= size]
        block = min(fitting, key=lambda one: len(one.payload), default=None) or self._add(size + spare, free)
        return block.take()

    def sender(self, block: Block) -> Sender:
        """Describe a block to the trainer."""
        return Sender(os.getpid(), block.number, frozenset(one.number for one in self._blocks))

    def _add(self, size: int, free: Sequence[Block]) -> Block:
        block = Block(self._made, to_shared(torch.empty(ALIGNED + size, dtype=torch.uint8)))
        self._made += 1
        too_small = {one.number for one in free}  # batches have become larger: these would stay unused
        self._blocks = [one for one in self._blocks if one.number not in too_small]
        if len(self._blocks) < _MOST_SLOTS:
            self._blocks.append(block)
        return block


class Mapped:
    """The blocks that a trainer keeps mapped, by worker and number."""

    def __init__(self) -> None:
        self._blocks: dict[int, dict[int, Tensor]] = {}

    def keep(self, sender: Sender, memory: Tensor) -> None:
        """Keep a block, if its worker will send it again, and drop those that it has given up."""
        known = self._blocks.get(sender.pid, {}) | {sender.number: memory}
        self._blocks[sender.pid] = {number: one for number, one in known.items() if number in sender.kept}

    def drop(self, pids: Iterable[int]) -> None:
        """Drop the blocks of workers that have ended."""
        for pid in pids:
            self._blocks.pop(pid, None)

    def __len__(self) -> int:
        return sum(map(len, self._blocks.values()))


SLOTS = Slots()
"""Of this process, if it is a worker."""

_LENT: ContextVar[Slots | None] = ContextVar("_LENT", default=None)


@contextmanager
def as_worker() -> Iterator[None]:
    """Make batches in this process as a worker makes them: `SharedBatch`es, in blocks that are used again.

    Nobody takes them, so call `free` of each when it is no longer needed. The blocks are gone with the context.
    """
    token = _LENT.set(Slots())
    try:
        yield
    finally:
        _LENT.reset(token)


def slots_here() -> Slots | None:
    """Return the blocks in which this process makes batches; None where they are plain memory."""
    # A worker that is forked within `as_worker` has blocks of its own all the same.
    return _LENT.get() if get_worker_info() is None else SLOTS


MAPPED = Mapped()
"""Of this process, if it is a trainer."""
