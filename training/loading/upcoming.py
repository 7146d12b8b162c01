"""Which batches a loader worker will be asked for next, as arithmetic: a pure function of position and world."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Position = tuple[int, int]
"""Epoch, and index into the order of that epoch."""

Batch = list[Position]
"""The positions of a batch, all of one epoch."""


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """The positions of one rank in an epoch, in order, and how its loader cuts them into batches.

    Of each global step of `step` positions the rank takes `share` consecutive ones; of the remainder after the whole
    steps, `last_share`. The loader cuts the rank's positions, in order, into batches and gives batch i of an iteration
    to worker i % W. An iteration that begins in the middle of an epoch begins with a whole step, so that the batches
    after a given one are the same wherever the iteration began. With step=4, share=2, rank=1, whole_steps=2,
    last_share=1, batch_size=2:

        position            0 1 2 3 | 4 5 6 7 | 8 9
        of this rank            2 3 |     6 7 |   9
        number in the rank      0 1 |     2 3 |   4
        batch                   0 0       1 1     2

    Attributes:
        step: Positions of a global step, over all ranks.
        share: Positions of this rank in a whole step.
        rank: This process, in [0, number of processes).
        whole_steps: Global steps of `step` positions in an epoch.
        last_share: Positions of this rank in a shorter last step; 0 if there is none.
        batch_size: Of the loader: samples in a batch of this rank.
    """

    step: int
    share: int
    rank: int
    whole_steps: int
    last_share: int = 0
    batch_size: int

    def __len__(self) -> int:
        return self.whole_steps * self.share + self.last_share

    def following(self, position: int, num_workers: int) -> Iterator[list[int]]:
        """Iterate over the batches that a worker makes after the present one, until the epoch ends.

        Args:
            position: The first position of the present batch.
            num_workers: W; 0 for a loader without workers, which makes every batch in one process.

        Yields:
            The positions of a batch. Nothing, if `position` is not one of this rank's.
        """
        # A worker makes every W-th batch, so its next one begins W batches further on.
        number, stride = self._number(position), self.batch_size * max(1, num_workers)
        if number is None:
            return
        for first in range(number + stride, len(self), stride):
            yield [self._position(at) for at in range(first, min(first + self.batch_size, len(self)))]

    def _position(self, number: int) -> int:
        """Return the position with the given number among this rank's positions, counted from 0."""
        # Global step -> this rank's block of `share` positions in it -> place in the block.
        step, place = divmod(number, self.share)
        if step < self.whole_steps:
            return step * self.step + self.rank * self.share + place
        # In the shorter last step, where a rank has `last_share` positions instead of `share`.
        place = number - self.whole_steps * self.share
        return self.whole_steps * self.step + self.rank * self.last_share + place

    def _number(self, position: int) -> int | None:
        """Invert `_position`; None if the position is not this rank's."""
        step = min(position // self.step, self.whole_steps)  # beyond the epoch: out of range of the last step
        # With `last_share` 0 no place passes the test below: the tail of the epoch belongs to no rank.
        share = self.share if step < self.whole_steps else self.last_share
        place = position - step * self.step - self.rank * share
        return step * self.share + place if 0 <= place < share else None


Plan = Callable[[], Upcoming]
"""Returns this rank's `Upcoming`. Call it late: the rank is known only once the process group is there."""


def freeze_plan(plan: Plan) -> Plan:
    """Call a plan now and return one that always gives the same result; picklable even if the first is not."""
    return functools.partial(_return, plan())


def _return(upcoming: Upcoming) -> Upcoming:
    return upcoming
