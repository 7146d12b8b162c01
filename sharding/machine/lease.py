"""A lease file: its holder touches it again and again, and one that is not touched for a while may be taken over."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sharding.errors import UsageError
from sharding.machine.files import write_atomically

LEASE_NAME = ".lease"
TOUCH_S, STALE_S = 10.0, 60.0
"""Seconds between two touches; seconds without one after which a lease is stale."""


class Lease:
    """The lease of a folder.

    Args:
        folder: An existing folder.
        touch_s: Seconds between two touches.
        stale_s: Seconds without a touch after which the lease of another process may be taken.
    """

    def __init__(self, folder: Path, touch_s: float = TOUCH_S, stale_s: float = STALE_S) -> None:
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
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": self._token}).encode()
        try:
            with self._file.open("xb") as file:  # atomic, on NFS too since version 3
                file.write(content)
            return
        except FileExistsError:
            holder = self._read()
        if not self._is_stale(holder):
            raise UsageError(f"{busy} (process {holder.get('pid')} on {holder.get('host')}; {self._file})")
        write_atomically(self._file, content)
        time.sleep(min(1.0, self._touch_s))  # of several that take a stale lease at once, the last one has it
        if self._read().get("token") != self._token:
            raise UsageError(busy)

    def _is_stale(self, holder: dict[str, Any]) -> bool:
        if holder.get("host") == socket.gethostname() and not _is_alive(holder.get("pid")):
            return True
        # By the clock of the file system: those of two machines may differ.
        probe = self._file.with_name(f"{LEASE_NAME}.{self._token}")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        with suppress(FileNotFoundError):
            return now - self._file.stat().st_mtime > self._stale_s
        return True

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            content = json.loads(self._file.read_bytes())
            return content if isinstance(content, dict) else {}
        return {}

    def _touch_until(self, over: threading.Event) -> None:
        while not over.wait(self._touch_s):
            with suppress(OSError):  # the next touch may succeed
                os.utime(self._file)


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
