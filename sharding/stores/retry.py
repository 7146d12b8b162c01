"""Retries of transient failures, with exponentially growing random pauses, within limits of attempts and time."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from sharding.errors import DataError
from sharding.stores.store import Buffer, Range, Store

T = TypeVar("T")


class ReadFailed(DataError):
    """A request failed for a transient reason.

    Args:
        where: Object and byte range, for messages.
        reason: Message of the server, or what happened to the connection.
        found: The bytes of each range, None for those that failed; empty if the read was not of ranges.
        wait_s: Seconds that the server asks to wait before a retry; None if it does not.
        verb: What was tried: "read", "write", "list", "remove".
    """

    def __init__(
        self,
        where: str,
        reason: str,
        *,
        found: Sequence[Buffer | None] = (),
        wait_s: float | None = None,
        verb: str = "read",
    ) -> None:
        super().__init__(
            f"{where}: expected to {verb} it, but: {reason}; run again when the network or the server is back"
        )
        self.where, self.reason, self.found, self.wait_s, self.verb = where, reason, list(found), wait_s, verb

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
        first_pause_s: Longest pause after the first failure.
        longest_pause_s: Bound of the drawn pauses; the server may ask for more.
    """

    attempts: int = 20
    deadline_s: float = 120.0
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
        # A pause that would end after the deadline is not begun: the error comes at once instead of later.
        if self.failures >= self.policy.attempts or now + pause > self.first_failure + self.policy.deadline_s:
            raise self._gave_up(error, now - self.began) from None
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
    """

    def __init__(self, store: Store, policy: RetryPolicy | None = None, clock: Clock | None = None) -> None:
        self._store, self._policy, self._clock = store, policy or RetryPolicy(), clock or SystemClock()

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Read the ranges.

        Raises:
            DataError: They are not available, or were not within the policy's limits; names object, range, attempts,
                seconds and the last reason.
        """
        trial = _Trial(self._policy, self._clock)
        found: dict[int, Buffer] = {}  # by position in `ranges`, which may hold a range twice
        while missing := [at for at in range(len(ranges)) if at not in found]:
            try:
                read: Sequence[Buffer | None] = self._store.read(name, [ranges[at] for at in missing])
            except ReadFailed as error:
                # Ranges that were read do not reset the count of failures: the limits hold for the whole read.
                read = error.found  # may be empty, so `zip` is not strict
                trial.wait(error)
            found |= {at: data for at, data in zip(missing, read, strict=False) if data is not None}
        return [found[at] for at in range(len(ranges))]

    def read_all(self, name: str) -> bytes:
        """Read a whole object."""
        return persist(lambda: self._store.read_all(name), self._policy, self._clock)

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, None if there is none."""
        return persist(lambda: self._store.size(name), self._policy, self._clock)

    def local_path(self, name: str) -> Path | None:
        """Return what the store returns."""
        return self._store.local_path(name)

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return what the store returns."""
        return self._store.is_cached(name, ranges)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return what the store returns."""
        return self._store.invalidate(name, ranges)


def persist(action: Callable[[], T], policy: RetryPolicy | None = None, clock: Clock | None = None) -> T:
    """Repeat `action` until it does not raise `ReadFailed`, and return its result.

    Raises:
        DataError: It did not succeed within the policy's limits.
    """
    trial = _Trial(policy or RetryPolicy(), clock or SystemClock())
    while True:
        try:
            return action()
        except ReadFailed as error:
            trial.wait(error)
