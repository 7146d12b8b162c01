"""The signals that end a command, SIGINT (Ctrl-C) and SIGTERM: as exceptions of the main thread, or held back.

Python runs handlers in the main thread, whichever thread a signal reached, and drops what they raise in a destructor,
a callback of a weak reference or a callback from C.
"""

import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
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
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    # The mask is that of this thread alone: another one may get the signal, and the handler then runs here.
    with _deferring(lambda number, frame: True):
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a pending one is noted now


@contextmanager
def hold_signals_within(functions: Collection[CodeType]) -> Iterator[None]:
    """Hold back SIGINT and SIGTERM to the end of the block if they arrive while one of these functions runs.

    For functions that C++ calls: it may lose what a handler raises in them, or end the process for it.
    """
    with _deferring(lambda number, frame: _runs(functions, frame)):
        yield


@contextmanager
def _deferring(held_back: Callable[[int, FrameType | None], bool]) -> Iterator[None]:
    """Replace the handlers that are functions by one that notes what is to be held back until the end of the block."""
    held: list[int] = []
    handlers = _handlers()

    def handle(number: int, frame: FrameType | None) -> None:
        if held_back(number, frame):
            held.append(number)
        else:
            handlers[number](number, frame)

    try:
        for number in handlers:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def _runs(functions: Collection[CodeType], frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in functions:
            return True
        frame = frame.f_back
    return False


def _handlers() -> dict[int, Any]:
    """Return the handlers that are functions; none in a thread that cannot replace them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}


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
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        if handles:
            signal.signal(signal.SIGTERM, _terminate)
        yield
    finally:
        if handles:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, interrupt)  # one that came while handlers were put back may have left another
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
