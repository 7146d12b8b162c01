"""Signals that ask a run to stop: from a scheduler (SIGTERM, SIGUSR1) or a user (Ctrl-C, which is SIGINT)."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from sharding.errors import Interrupted
from sharding.progress import is_bar_shown, is_rank_zero

_STDERR = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopSignals:
    """A context that remembers the first signal which asks to stop, so that training can end after a step.

    Until `defer` is called no training would be lost, and a signal ends the process at once. From then on the trainer
    reads `received` after each step; Ctrl-C after it stops without waiting for that.

    Outside the main thread, where Python allows no handlers, it has no effect.

    Attributes:
        received: Number of the first signal; None until one comes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferring = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Install the handlers."""
        if _in_main_thread():
            self._before = {name: signal.signal(name, self._handle) for name in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the handlers from before."""
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._before = {}

    def defer(self) -> None:
        """Defer signals to the end of a step from now on."""
        self._deferring = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Later signals are ignored, except Ctrl-C, which stops at once with its own status.
        again, self.received = self.received is not None, self.received or number
        if not self._deferring or (again and number == signal.SIGINT):
            raise Interrupted(number, "stopped; run the same command with --resume")
        if not again:
            _write_stderr(f"{signal.Signals(number).name}: saving after this step (Ctrl-C again to stop without)")


def _write_stderr(text: str) -> None:
    """Write to standard error without Python's buffers: the signal may have interrupted a write to them."""
    if is_rank_zero():
        os.write(_STDERR, f"{chr(10) * is_bar_shown()}{text}\n".encode())


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
