"""What a loader worker will be asked for next, as arithmetic: a pure function of position and world."""

from collections.abc import Iterator
from dataclasses import dataclass

Position = tuple[int, int]
"""Epoch, and place in the order of that epoch."""

Batch = list[Position]
"""Of one epoch."""


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """The positions that one rank is given in an epoch, in order, and how its loader cuts them into batches.

    Of each global step of `step` positions the rank takes `share` consecutive ones; of what is left after the whole
    steps, `last_share`. The loader cuts these one after the other into batches and gives batch i of an iteration to
    worker i % W. An iteration that begins in the middle of an epoch begins with a whole step, so that a batch is
    followed by the same ones wherever the iteration began.

    Attributes:
        step: Positions of a global step, over all ranks.
        share: Positions of this rank in it.
        rank: This process, in [0, number of processes).
        whole_steps: Global steps of `step` positions in an epoch.
        last_share: Positions of this rank in a shorter last step; 0 if there is none.
        batch_size: Of the loader: samples of a batch of this rank.
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
        """The batches that the worker which is asked for one batch is asked for after it, until the epoch ends.

        Args:
            position: The first position of the present batch.
            num_workers: W; 0 for a loader without workers, which makes every batch in one process.

        Yields:
            The positions of a batch. Nothing, if `position` is none of this rank's.
        """
        number, stride = self._number(position), self.batch_size * max(1, num_workers)
        if number is None:
            return
        for first in range(number + stride, len(self), stride):
            yield [self._position(at) for at in range(first, min(first + self.batch_size, len(self)))]

    def _position(self, number: int) -> int:
        """The position that this rank is given as number so many."""
        step, place = divmod(number, self.share)
        if step < self.whole_steps:
            return step * self.step + self.rank * self.share + place
        place = number - self.whole_steps * self.share
        return self.whole_steps * self.step + self.rank * self.last_share + place

    def _number(self, position: int) -> int | None:
        """The inverse of `_position`; None if the position is not this rank's."""
        step, place = divmod(position, self.step)
        step = min(step, self.whole_steps)
        share = self.share if step < self.whole_steps else self.last_share
        place = position - step * self.step - self.rank * share
        return step * self.share + place if 0 <= place < share else None
