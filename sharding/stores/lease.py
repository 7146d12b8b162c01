"""A lease object, which keeps other runs out of a prefix: its holder writes it again and again.

It is put on the condition that there is none. A store that ignores the condition is noticed; there, and where a lease
is taken over, its content is read again after a moment, so that of two that took it at once one gives way.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from sharding.errors import DataError, UsageError
from sharding.machine.lease import LEASE_NAME, MAX_LEASE_BYTES, is_alive, system_name
from sharding.machine.worker import is_worker

TOUCH_S, STALE_S = 20.0, 120.0
"""Seconds between two writes; seconds without one after which a lease may be taken over."""

SETTLE_S = 1.0
"""Longest time, in seconds, from looking for a lease to writing one."""

_JOIN_S = 5.0
"""Seconds that a write which is under way has to end."""


class Objects(Protocol):
    """What a lease needs of a store. Nothing is tried again with `once`."""

    address: str

    def read(self, name: str, *, once: bool = False) -> bytes | None:
        """Read an object; None if there is none."""
        ...

    def write(self, name: str, content: bytes, *, once: bool = False) -> None:
        """Write an object."""
        ...

    def write_if_missing(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one, and tell whether it was written; some stores overwrite it."""
        ...

    def remove(self, name: str, *, once: bool = False) -> None:
        """Remove an object if there is one."""
        ...

    def changed_at(self, name: str) -> datetime | None:
        """Return when an object was written, by the clock of the store; None if there is none."""
        ...


class RemoteLease:
    """The lease of a prefix.

    Args:
        objects: The objects below the prefix.
        say: Prints a line.
        touch_s: Seconds between two writes.
        stale_s: Seconds without one after which the lease of another process may be taken over.
    """

    def __init__(
        self, objects: Objects, say: Callable[[str], None], touch_s: float = TOUCH_S, stale_s: float = STALE_S
    ) -> None:
        self._objects, self._say, self._touch_s, self._stale_s = objects, say, touch_s, stale_s
        self._token, self._held = uuid.uuid4().hex, False
        self._content = json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "system": system_name(),
                "token": self._token,
                "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            }
        ).encode()

    @contextmanager
    def hold(self, busy: str) -> Iterator[None]:
        """Hold the lease during the block.

        Raises:
            UsageError: Another process holds it; the message is `busy`, and who that is.
            DataError: The store cannot be read or written.
        """
        self._take(busy)
        self._held = True
        over = threading.Event()
        thread = threading.Thread(target=self._touch_until, args=(over,), daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            self._held = False
            over.set()
            thread.join(_JOIN_S)
            with suppress(DataError):  # the store may be why the block ended; the lease becomes stale by itself
                if self._is_ours(self._read(once=True)):
                    self._objects.remove(LEASE_NAME, once=True)

    def check(self) -> None:
        """Check that this process, or the one whose worker it is, still holds the lease, if it ever did.

        Raises:
            DataError: It does not, or the lease cannot be read.
        """
        if (self._held or is_worker()) and not self._is_ours(found := self._read()):
            taken = f" by {_who(found)}" if found else ""
            raise DataError(
                f"{self._objects.address}: the set was taken over{taken} while it was made here, because this run was "
                f"stopped, or without its store, for more than {self._stale_s:.0f} s; it is not finished here: wait "
                "until no other run makes it, and run the same command again"
            )

    def _is_ours(self, found: dict[str, Any]) -> bool:
        if is_worker():
            return found.get("system") == system_name() and found.get("pid") == os.getppid()
        return bool(found.get("token") == self._token)

    def _take(self, busy: str) -> None:
        found = self._read()
        if found:
            self._check_stale(found, busy)
            self._say(f"{self._objects.address}: takes over from {_who(found)}, not heard of any more")
            self._objects.remove(LEASE_NAME)
        if not self._objects.write_if_missing(LEASE_NAME, self._content):
            self._check_ours(busy)  # it may be this one, put in an attempt whose answer was lost
        overwrites = self._objects.write_if_missing(LEASE_NAME, self._content)
        if found or overwrites:
            time.sleep(SETTLE_S)
            self._check_ours(busy)

    def _check_ours(self, busy: str) -> None:
        if not self._is_ours(found := self._read()):
            raise UsageError(f"{busy} ({_who(found)})")

    def _check_stale(self, found: dict[str, Any], busy: str) -> None:
        """Check that the lease may be taken over.

        Raises:
            UsageError: Its holder may be alive.
        """
        if found.get("system") == system_name() and not is_alive(found.get("pid")):
            return
        silent_s = self._silent_s()
        if silent_s <= self._stale_s:
            raise UsageError(
                f"{busy} ({_who(found)}, last heard of {silent_s:.0f} s ago; if it was killed, run this again in "
                f"{self._stale_s - silent_s + 1:.0f} s)"
            )

    def _silent_s(self) -> float:
        """Return the seconds since the lease was written, by the clock of the store."""
        probe = f"{LEASE_NAME}.{self._token}"
        self._objects.write(probe, b"")
        try:
            now, then = self._objects.changed_at(probe), self._objects.changed_at(LEASE_NAME)
        finally:
            self._objects.remove(probe)
        return (now - then).total_seconds() if now and then else 0.0

    def _read(self, *, once: bool = False) -> dict[str, Any]:
        """Return the content of the lease; {} if there is none, {"host": "?"} if it cannot be understood."""
        content = self._objects.read(LEASE_NAME, once=once)
        if content is None:
            return {}
        with suppress(ValueError, RecursionError):
            if len(content) <= MAX_LEASE_BYTES and isinstance(found := json.loads(content), dict) and found:
                return found
        return {"host": "?"}

    def _touch_until(self, over: threading.Event) -> None:
        while not over.wait(self._touch_s):
            with suppress(DataError):  # the next may succeed
                if not self._is_ours(self._read(once=True)):
                    self._say(f"{self._objects.address}: another run has taken the set over; this one cannot finish it")
                    return
                self._objects.write(LEASE_NAME, self._content, once=True)


def _who(found: dict[str, Any]) -> str:
    return f"process {found.get('pid', '?')} on {found.get('host', '?')} since {found.get('since', '?')}"
