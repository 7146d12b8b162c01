"""How long a training run will take: arithmetic on what this process has measured, without a trainer."""

import time
from collections.abc import Callable

from sharding.progress import spoken


class RunClock:
    """A clock of batches and of what lies between epochs, by wall time, so waits for data and checkpoints count.

    Between the last batch of an epoch and the first of the next lie validation, pictures, checkpoints and the start of
    workers: a turn. The first batch of the process counts for nothing: it waits for workers to start, and compiles.
    Nothing is known from an earlier process of a resumed run, which may have had another machine.

    Args:
        now: Seconds, from any beginning.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: float | None = None  # end of the batch before
        self._in_turn = False
        self._batches, self._batch_s = 0, 0.0
        self._turns, self._turn_s = 0, 0.0

    def begin_batch(self) -> None:
        """Note that a batch begins, which ends the turn before it."""
        if self._in_turn and self._last is not None:
            now = self._now()
            self._turns, self._turn_s = self._turns + 1, self._turn_s + now - self._last
            self._last = now
        self._in_turn = False

    def end_batch(self, *, is_last: bool) -> None:
        """Note that a batch has ended.

        Args:
            is_last: Whether it is the last of its epoch.
        """
        now = self._now()
        if self._last is not None:
            self._batches, self._batch_s = self._batches + 1, self._batch_s + now - self._last
        self._last, self._in_turn = now, is_last

    def describe(self, batches: int, turns: int) -> str:
        """Say how long the rest of the run will take; "" before a batch was measured.

        Until an epoch has ended here, the time of a turn is not known: then it is at least the time of the batches.

        Args:
            batches: Batches that are left.
            turns: Ends of epochs that are left, that of the run too.
        """
        if not self._batches:
            return ""
        left = batches * self._batch_s / self._batches
        if not self._turns:
            return f"run: at least {spoken(left)} left"
        return f"run: {spoken(left + turns * self._turn_s / self._turns)} left"
