"""The order of the present epoch, stored once for a training process and all its loader workers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.launch.shared_tensors import to_shared
from training.loading.order import epoch_order, weighted_order

Columns = tuple[NDArray[np.int64], ...]
"""int64 (N,) each, one value per position: the row; and where samples are drawn by weight, the replica."""

_EPOCH, _FILLS = 0, 1  # fields of the stamp: epoch in the columns (-1: none), and how often they were filled


class SharedOrder:
    """The row of each position of an epoch, in shared memory that every loader worker maps.

    The training process fills it when an epoch begins (`prepare`), workers only read it. It is stamped with its
    epoch: a process that is asked for another epoch computes a private copy and keeps it, so that the result is right
    even if the epoch was not prepared, or changed during the read.

    Memory for N samples and C columns: 8 * N * C bytes per training process, however many workers it has. While an
    epoch is computed there are another 8 * N bytes without weights, 42 * N with (`weighted_order`). Each process with
    a private copy holds another 8 * N * C bytes.

    Args:
        make: Computes the columns of an epoch; picklable, so that a worker can call it.
        num_samples: N.
        num_columns: C.
    """

    def __init__(self, make: Callable[[int], Columns], num_samples: int, num_columns: int) -> None:
        self._make = make
        self._columns = to_shared(torch.empty((num_columns, num_samples), dtype=torch.int64))
        self._stamp = to_shared(torch.tensor([-1, 0]))
        self._own: tuple[int, Columns] | None = None

    def prepare(self, epoch: int) -> None:
        """Compute the order of an epoch, unless it is there. For the training process alone: there is one writer."""
        self._own = None
        if int(self._stamp[_EPOCH]) == epoch:
            return
        columns = self._make(epoch)
        # The epoch is written last: a reader that finds it and the count of fills unchanged has read whole columns.
        self._stamp[_EPOCH] = -1
        for shared, column in zip(self._columns, columns, strict=True):
            shared.copy_(torch.from_numpy(column))
        self._stamp[_FILLS] += 1
        self._stamp[_EPOCH] = epoch

    def at(self, epoch: int, place: int) -> tuple[int, ...]:
        """Return the C values of one position: (row,), or (row, replica).

        Raises:
            IndexError: `place` is not in [0, N).
        """
        stamp = self._stamp.tolist()
        if stamp[_EPOCH] == epoch >= 0:
            values = tuple(self._columns[:, place].tolist())
            # The count of fills also tells an epoch that left and came back from one that stayed.
            if self._stamp.tolist() == stamp:
                return values
        return tuple(int(column[place]) for column in self._compute(epoch))

    def _compute(self, epoch: int) -> Columns:
        if self._own is None or self._own[0] != epoch:
            self._own = (epoch, self._make(epoch))
        return self._own[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_own": None}  # a private copy stays in its process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Already mapped when torch's pickler sent it to a worker; a copy, to be shared again, after a plain pickle.
        to_shared(self._columns)
        to_shared(self._stamp)


def share_epoch_order(shard_sizes: tuple[int, ...], seed: int) -> SharedOrder:
    """Share the `epoch_order` of a set: one column, the row of each position."""
    return SharedOrder(partial(_epoch_columns, shard_sizes, seed), sum(shard_sizes), 1)


def share_weighted_order(set_sizes: tuple[int, ...], weights: tuple[float, ...], seed: int) -> SharedOrder:
    """Share the `weighted_order` of several sets: two columns, row and replica of each position."""
    return SharedOrder(partial(weighted_order, set_sizes, weights, seed), sum(set_sizes), 2)


def _epoch_columns(shard_sizes: tuple[int, ...], seed: int, epoch: int) -> Columns:
    return (epoch_order(shard_sizes, seed, epoch),)
