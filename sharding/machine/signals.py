"""The signals that end a command, SIGINT (Ctrl-C) and SIGTERM: as exceptions of the main thread, or held back.

Python runs handlers in the main thread, whichever thread a signal reached, and drops what they raise in a destructor,
a callback of a weak reference or a callback from C.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_ENDING = (signal.SIGTERM, signal.SIGINT)
_AGAIN_S = 0.01
"""Seconds after which a signal whose exception Python dropped is sent again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def number_of(error: KeyboardInterrupt) -> int:
    """Return the number of the signal that raised `error`."""
    return signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT


@contextmanager
def hold_signals() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the end of the block, where one that arrived is delivered.

    Threads and processes that are started in the block have them blocked.
    """
    held: list[int] = []
    # The mask is that of this thread alone: another one may get the signal, and the handler then runs here.
    deferred = _defer(lambda number, frame: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # first: a pending one is only noted
        for number, handler in deferred.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def _defer(handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Replace the handlers that are functions, in the main thread; return them by signal."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in _ENDING if callable(signal.getsignal(number))}


@contextmanager
def raising_signals(*, terminate: bool) -> Iterator[None]:
    """See that a signal in the block raises KeyboardInterrupt in the main thread, also where Python drops it once.

    Args:
        terminate: Whether SIGTERM raises `Terminated`, instead of ending this process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook, sys.unraisablehook = sys.unraisablehook, _send_again_if_dropped
    handles = terminate and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    try:
        if handles:
            signal.signal(signal.SIGTERM, _terminate)
        yield
    finally:
        if handles:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.unraisablehook = hook


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _send_again_if_dropped(dropped: "sys.UnraisableHookArgs") -> None:
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    main = threading.main_thread().ident or 0
    # By another thread, later: raised here it would be dropped as well.
    again = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, number_of(dropped.exc_value)))
    again.daemon = True
    again.start()
