"""The order of the present epoch, held once for a training process and all its loader workers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.loading.order import epoch_order, weighted_order

Columns = tuple[NDArray[np.int64], ...]
"""(N,) each, one value a position: the row; and where samples are drawn by weight, the replica."""

_EPOCH, _FILLS = 0, 1  # what the stamp holds


class SharedOrder:
    """Where each position of an epoch leads, in shared memory that every loader worker maps.

    The training process fills it when an epoch begins (`prepare`), workers only read it. It is stamped with its
    epoch: a process that is asked for another one works that out for itself and keeps it, so that the answer is right
    even if nobody prepared, or the epoch changed meanwhile.

    Memory for N samples and C columns: 8 * N * C bytes a training process, however many workers it has. While an
    epoch is made there are 8 * N bytes beside it without weights, 42 * N with (`weighted_order`). Each process that
    works an epoch out for itself holds another 8 * N * C bytes.

    Args:
        make: The columns of an epoch; picklable, so that a worker can call it.
        num_samples: N.
        num_columns: C.
    """

    def __init__(self, make: Callable[[int], Columns], num_samples: int, num_columns: int) -> None:
        self._make = make
        self._columns = torch.empty((num_columns, num_samples), dtype=torch.int64).share_memory_()
        self._stamp = torch.tensor([-1, 0]).share_memory_()
        self._own: tuple[int, Columns] | None = None

    def prepare(self, epoch: int) -> None:
        """Make the order of an epoch, unless it is there. For the training process alone: there is one writer."""
        self._own = None
        if int(self._stamp[_EPOCH]) == epoch:
            return
        columns = self._make(epoch)
        self._stamp[_EPOCH] = -1  # who reads meanwhile notices
        for shared, column in zip(self._columns, columns, strict=True):
            shared.copy_(torch.from_numpy(column))
        self._stamp[_FILLS] += 1
        self._stamp[_EPOCH] = epoch

    def at(self, epoch: int, place: int) -> tuple[int, ...]:
        """(C,) the values of one position.

        Raises:
            IndexError: There is no such place in an epoch.
        """
        stamp = self._stamp.tolist()
        if stamp[_EPOCH] == epoch >= 0:
            values = tuple(self._columns[:, place].tolist())
            if self._stamp.tolist() == stamp:  # not filled anew while it was read
                return values
        return tuple(int(column[place]) for column in self._work_out(epoch))

    @property
    def own_bytes(self) -> int:
        """Bytes that this process holds for itself because it was asked for an epoch that was not prepared."""
        return 0 if self._own is None else sum(column.nbytes for column in self._own[1])

    def _work_out(self, epoch: int) -> Columns:
        if self._own is None or self._own[0] != epoch:
            self._own = (epoch, self._make(epoch))
        return self._own[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_own": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Mapped already if it came to a worker; a copy of its own if it came through a plain pickle.
        self._columns.share_memory_()
        self._stamp.share_memory_()


def share_epoch_order(shard_sizes: tuple[int, ...], seed: int) -> SharedOrder:
    """`epoch_order` of a set, shared: one column, the row of each position."""
    return SharedOrder(partial(_epoch_columns, shard_sizes, seed), sum(shard_sizes), 1)


def share_weighted_order(set_sizes: tuple[int, ...], weights: tuple[float, ...], seed: int) -> SharedOrder:
    """`weighted_order` of several sets, shared: two columns, row and replica of each position."""
    return SharedOrder(partial(weighted_order, set_sizes, weights, seed), sum(set_sizes), 2)


def _epoch_columns(shard_sizes: tuple[int, ...], seed: int, epoch: int) -> Columns:
    return (epoch_order(shard_sizes, seed, epoch),)
