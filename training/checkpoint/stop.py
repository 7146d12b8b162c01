"""Being asked to stop: by a scheduler (SIGTERM, SIGUSR1) or a person (Ctrl-C)."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from sharding.errors import Interrupted
from sharding.progress import is_rank_zero

_STDERR = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopSignals:
    """A context that remembers the first signal which asks to stop, instead of dying of it.

    Until `defer` is called nothing would be lost, and a signal ends the process at once. From then on the trainer asks
    `received` after each step; a second Ctrl-C stops without waiting for that.

    Outside the main thread, where Python allows no handlers, it remembers nothing.

    Attributes:
        received: The signal's number; None as long as nobody asked.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferring = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Take over the signals."""
        if _in_main_thread():
            self._before = {name: signal.signal(name, self._handle) for name in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._before = {}

    def defer(self) -> None:
        """From now on wait for the end of a step."""
        self._deferring = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, self.received or number
        if not self._deferring or (again and number == signal.SIGINT):
            raise Interrupted(number, "stopped; run the same command with --resume")
        if not again:
            _tell(f"{signal.Signals(number).name}: saving after this step (Ctrl-C again to stop without)")


def _tell(text: str) -> None:
    """Say it, past Python's buffers: the signal may have come in the middle of a write."""
    if is_rank_zero():
        os.write(_STDERR, f"{text}\n".encode())


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
