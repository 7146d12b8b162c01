"""Retries of transient failures, with exponentially growing random pauses, within limits of attempts and time."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from sharding.errors import DataError
from sharding.progress import say
from sharding.stores.store import Buffer, Range, Store

T = TypeVar("T")

QUIET_S = 1.0
"""Seconds for which retries are not announced: most failures are gone by then, and in a run there are many."""

ANNOUNCED_EVERY_S = 30.0
"""Seconds between two announcements of a process, whose requests fail all at once."""

_announced = [-ANNOUNCED_EVERY_S]  # when the last was, in monotonic seconds


def announce(where: str, reason: str, left_s: float) -> None:
    """Say on stderr what failed, and until when it is tried again; not more than every `ANNOUNCED_EVERY_S`."""
    now = time.monotonic()
    if now - _announced[0] >= ANNOUNCED_EVERY_S:
        _announced[0] = now
        say(f"{where}: {reason}; trying again until {datetime.now() + timedelta(seconds=left_s):%H:%M:%S}")


class ReadFailed(DataError):
    """A request failed for a transient reason.

    Args:
        where: Object and byte range, for messages.
        reason: Message of the server, or what happened to the connection.
        found: The bytes of each range, None for those that failed; empty if the read was not of ranges.
        wait_s: Seconds that the server asks to wait before a retry; None if it does not.
        verb: What was tried: "read", "write", "list", "remove".
        unreachable: Whether nothing answered.
    """

    def __init__(
        self,
        where: str,
        reason: str,
        *,
        found: Sequence[Buffer | None] = (),
        wait_s: float | None = None,
        verb: str = "read",
        unreachable: bool = False,
    ) -> None:
        super().__init__(
            f"{where}: expected to {verb} it, but: {reason}; run again when the network or the server is back"
        )
        self.where, self.reason, self.found, self.wait_s, self.verb = where, reason, list(found), wait_s, verb
        self.unreachable = unreachable

    def __reduce__(self) -> tuple[type[DataError], tuple[object, ...]]:
        """Pickle as a DataError with the text alone: bytes in `found` and views of them stay in this process."""
        return DataError, self.args


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, and for how long, a read is retried.

    The pause before attempt n+1 is drawn between half and all of `first_pause_s * 2**(n-1)`, at most
    `longest_pause_s`; if the server asks for a longer one, that is used. The draw (jitter) keeps the workers of a job
    from retrying at the same moment.

    Attributes:
        attempts: Maximum number of attempts of one read.
        deadline_s: Seconds after the first failure after which no attempt begins. They count from the failure, because
            a large object may take long to read; an attempt that has begun is ended by the store's own time limits.
        unanswered_s: Seconds after its beginning after which no attempt begins if nothing has ever answered at that
            address: then it is more likely wrong than down.
        first_pause_s: Longest pause after the first failure.
        longest_pause_s: Bound of the drawn pauses; the server may ask for more.
    """

    attempts: int = 20
    deadline_s: float = 120.0
    unanswered_s: float = 15.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 15.0

    def pause_s(self, failures: int, draw: float) -> float:
        """Return the seconds to wait after `failures` (1 or more) failures; `draw` is uniform in [0, 1)."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1))
        return longest * (1 + draw) / 2  # within [longest / 2, longest)


class Clock(Protocol):
    """The time as a store reads it; tests replace it."""

    def now(self) -> float:
        """Return the time in seconds since any fixed moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


@dataclass
class _Trial:
    """The attempts of one read."""

    policy: RetryPolicy
    clock: Clock
    answered: Callable[[], bool]
    began: float = field(init=False)
    first_failure: float = field(init=False)
    failures: int = 0

    def __post_init__(self) -> None:
        self.began = self.clock.now()

    def wait(self, error: ReadFailed) -> None:
        """Wait before the next attempt, or raise the final error if there is none left.

        Raises:
            DataError: Another attempt would exceed the policy.
        """
        now = self.clock.now()
        if not self.failures:
            self.first_failure = now  # the deadline counts from here
        self.failures += 1
        pause = max(error.wait_s or 0.0, self.policy.pause_s(self.failures, random.random()))
        end = self.first_failure + self.policy.deadline_s
        if error.unreachable and not self.answered():
            end = min(end, self.began + self.policy.unanswered_s)
        # A pause that would end after the deadline is not begun: the error comes at once instead of later.
        if self.failures >= self.policy.attempts or now + pause > end:
            raise self._gave_up(error, now - self.began) from None
        if now + pause - self.began >= QUIET_S:
            announce(error.where, error.reason, end - now)
        self.clock.sleep(pause)

    def _gave_up(self, error: ReadFailed, elapsed: float) -> DataError:
        asked = f"; the server asks to wait {error.wait_s:.0f} s" if error.wait_s else ""
        times = "1 attempt" if self.failures == 1 else f"{self.failures} attempts"
        return DataError(
            f"{error.where}: expected to {error.verb} it, but {times} in {elapsed:.1f} s failed, the last with: "
            f"{error.reason}{asked}; run again when the network or the server is back"
        )


class RetryingStore:
    """A store that retries transient failures. Ranges that were read are held, only the others are requested again.

    Args:
        store: Raises `ReadFailed` for a transient failure; any other error is passed on at once.
        policy: How often and for how long to retry.
        clock: Replaced by tests.
        answered: Whether the server is known to have answered before, to another store or process.
    """

    def __init__(
        self,
        store: Store,
        policy: RetryPolicy | None = None,
        clock: Clock | None = None,
        *,
        answered: bool = False,
    ) -> None:
        self._store, self._policy, self._clock = store, policy or RetryPolicy(), clock or SystemClock()
        self._answered = answered

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Read the ranges.

        Raises:
            DataError: They are not available, or were not within the policy's limits; names object, range, attempts,
                seconds and the last reason.
        """
        trial = _Trial(self._policy, self._clock, self._has_answered)
        found: dict[int, Buffer] = {}  # by position in `ranges`, which may hold a range twice
        while missing := [at for at in range(len(ranges)) if at not in found]:
            try:
                read: Sequence[Buffer | None] = self._store.read(name, [ranges[at] for at in missing])
            except ReadFailed as error:
                # Ranges that were read do not reset the count of failures: the limits hold for the whole read.
                read = error.found  # may be empty, so `zip` is not strict
                self._answered |= not error.unreachable
                trial.wait(error)
            else:
                self._answered = True
            found |= {at: data for at, data in zip(missing, read, strict=False) if data is not None}
        return [found[at] for at in range(len(ranges))]

    def read_all(self, name: str) -> bytes:
        """Read a whole object."""
        return self._persist(lambda: self._store.read_all(name))

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, None if there is none."""
        return self._persist(lambda: self._store.size(name))

    def _persist(self, action: Callable[[], T]) -> T:
        found = persist(action, self._policy, self._clock, self._has_answered)
        self._answered = True
        return found

    def _has_answered(self) -> bool:
        return self._answered

    def local_path(self, name: str) -> Path | None:
        """Return what the store returns."""
        return self._store.local_path(name)

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return what the store returns."""
        return self._store.is_cached(name, ranges)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return what the store returns."""
        return self._store.invalidate(name, ranges)


def persist(
    action: Callable[[], T],
    policy: RetryPolicy | None = None,
    clock: Clock | None = None,
    answered: Callable[[], bool] = lambda: False,
) -> T:
    """Repeat `action` until it does not raise `ReadFailed`, and return its result.

    Args:
        action: What to do.
        policy: How often and for how long to repeat it.
        clock: Replaced by tests.
        answered: Tells whether the server has ever answered.

    Raises:
        DataError: It did not succeed within the policy's limits.
    """
    trial = _Trial(policy or RetryPolicy(), clock or SystemClock(), answered)
    while True:
        try:
            return action()
        except ReadFailed as error:
            trial.wait(error)
