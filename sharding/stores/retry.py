"""Reading again what did not come, with growing pauses, within a limit."""

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
    """A read failed for a reason that may pass.

    Args:
        where: Object and byte range, for people.
        reason: What the server said, or what happened to the connection.
        found: What came all the same, None for the ranges that did not; empty if the read was not of ranges.
        wait_s: How long the server asks to be left alone; None if it does not say.
        verb: What was tried.
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
        """Cross process borders as the text alone."""
        return DataError, self.args


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, and for how long, a read is tried.

    The pause before attempt n+1 is drawn between half and all of `first_pause_s * 2**(n-1)`, at most
    `longest_pause_s`; a longer one that the server asks for is kept. The draw keeps the workers of a job from coming
    back at the same moment.

    Attributes:
        attempts: At most, of one read.
        deadline_s: After the first failure, after which no attempt begins: a large file may be long on its way. One
            that has begun ends by the store's own time limits.
        first_pause_s: After the first failure.
        longest_pause_s: Of those we choose.
    """

    attempts: int = 20
    deadline_s: float = 120.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 15.0

    def pause_s(self, failures: int, draw: float) -> float:
        """Seconds to wait after so many failures; `draw` is uniform in [0, 1)."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1))
        return longest * (1 + draw) / 2


class Clock(Protocol):
    """Time as a store sees it; tests bring their own."""

    def now(self) -> float:
        """Seconds, of no particular beginning."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


@dataclass
class _Trial:
    """One read being tried."""

    policy: RetryPolicy
    clock: Clock
    began: float = field(init=False)
    first_failure: float = field(init=False)
    failures: int = 0

    def __post_init__(self) -> None:
        self.began = self.clock.now()

    def wait(self, error: ReadFailed) -> None:
        """Wait before the next attempt, or say that there is none."""
        now = self.clock.now()
        if not self.failures:
            self.first_failure = now
        self.failures += 1
        pause = max(error.wait_s or 0.0, self.policy.pause_s(self.failures, random.random()))
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
    """A store whose passing failures are tried again. What came of a read is kept, only the rest is asked for again.

    Args:
        store: Raises `ReadFailed` for what may pass; every other error is passed on at once.
        policy: How often and for how long.
        clock: For tests.
    """

    def __init__(self, store: Store, policy: RetryPolicy | None = None, clock: Clock | None = None) -> None:
        self._store, self._policy, self._clock = store, policy or RetryPolicy(), clock or SystemClock()

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Read the ranges.

        Raises:
            DataError: What is asked for is not to be had, or was not within the policy's limits; says object, range,
                attempts, seconds and what the server said last.
        """
        trial = _Trial(self._policy, self._clock)
        found: dict[int, Buffer] = {}
        while missing := [at for at in range(len(ranges)) if at not in found]:
            try:
                came: Sequence[Buffer | None] = self._store.read(name, [ranges[at] for at in missing])
            except ReadFailed as error:
                came = error.found
                trial.wait(error)
            found |= {at: data for at, data in zip(missing, came, strict=False) if data is not None}
        return [found[at] for at in range(len(ranges))]

    def read_all(self, name: str) -> bytes:
        """Read an object."""
        return persist(lambda: self._store.read_all(name), self._policy, self._clock)

    def size(self, name: str) -> int | None:
        """Ask for an object's size."""
        return persist(lambda: self._store.size(name), self._policy, self._clock)

    def local_path(self, name: str) -> Path | None:
        """As the store has it."""
        return self._store.local_path(name)

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """As the store has it."""
        return self._store.is_cached(name, ranges)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """As the store has it."""
        return self._store.invalidate(name, ranges)


def persist(action: Callable[[], T], policy: RetryPolicy | None = None, clock: Clock | None = None) -> T:
    """Do something until it does not raise `ReadFailed`.

    Raises:
        DataError: It was not to be had within the policy's limits.
    """
    trial = _Trial(policy or RetryPolicy(), clock or SystemClock())
    while True:
        try:
            return action()
        except ReadFailed as error:
            trial.wait(error)
