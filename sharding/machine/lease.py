"""A lease file: its holder touches it again and again, and one that is not touched for a while may be taken over."""

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sharding.errors import UsageError
from sharding.machine.regular import read_regular

LEASE_NAME = ".lease"
MAX_LEASE_BYTES = 10_000
"""Size up to which a file or an object is read as a lease: one of ours has some 300 bytes."""

TOUCH_S, STALE_S = 10.0, 60.0
"""Seconds between two touches; seconds without one after which a lease is stale."""


class Lease:
    """The lease of a folder.

    Args:
        folder: An existing folder.
        say: Prints a line.
        touch_s: Seconds between two touches.
        stale_s: Seconds without a touch after which the lease of another process may be taken.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None], touch_s: float = TOUCH_S, stale_s: float = STALE_S
    ) -> None:
        self._say = say
        self._file, self._touch_s, self._stale_s = folder / LEASE_NAME, touch_s, stale_s
        self._token = uuid.uuid4().hex

    @contextmanager
    def hold(self, busy: str) -> Iterator[None]:
        """Hold the lease during the block.

        Raises:
            UsageError: Another process holds it; the message is `busy`, with its host and process id.
        """
        self._take(busy)
        over = threading.Event()
        thread = threading.Thread(target=self._touch_until, args=(over,), daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            if self._read().get("token") == self._token:
                self._file.unlink(missing_ok=True)

    def _take(self, busy: str) -> None:
        holder = self._read()
        if self._file.exists():
            if not self._is_stale(holder):
                raise UsageError(f"{busy} (process {holder.get('pid')} on {holder.get('host')}; {self._file})")
            aside = self._file.with_name(f"{LEASE_NAME}.{self._token}")
            with suppress(FileNotFoundError):  # of several that take it at once, one moves it away
                os.rename(self._file, aside)
                aside.unlink()
        content = {"host": socket.gethostname(), "pid": os.getpid(), "system": system_name(), "token": self._token}
        try:
            with self._file.open("x") as file:  # atomic, on NFS too since version 3
                file.write(json.dumps(content))
        except FileExistsError as error:
            raise UsageError(busy) from error

    def _is_stale(self, holder: dict[str, Any]) -> bool:
        if holder.get("system") == system_name() and not is_alive(holder.get("pid")):
            return True
        # By the clock of the file system: those of two machines may differ.
        probe = self._file.with_name(f"{LEASE_NAME}.{self._token}")
        probe.touch(exist_ok=False)
        now = probe.stat().st_mtime
        probe.unlink()
        with suppress(FileNotFoundError):
            return now - self._file.stat().st_mtime > self._stale_s
        return True

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            content = json.loads(read_regular(self._file, MAX_LEASE_BYTES))
            return content if isinstance(content, dict) else {}
        return {}

    def _touch_until(self, over: threading.Event) -> None:
        while not over.wait(self._touch_s):
            if self._read().get("token", self._token) != self._token:
                self._say(f"{self._file}: another process has taken it over, since this one was stopped for long")
                return
            with suppress(OSError):  # the next touch may succeed
                os.utime(self._file)


def system_name() -> str:
    """Identify what numbers the processes: machine, its start, and the container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    return socket.gethostname()


def is_alive(pid: object) -> bool:
    """Tell whether a process of this system is alive."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
