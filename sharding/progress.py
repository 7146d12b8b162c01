"""Progress of long work on stderr: bars with rate and ETA, and plain lines. Only rank 0 prints."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Protocol, TypeVar

from sharding.escaping import escape
from sharding.hiding import hide

T = TypeVar("T")

LINE_EVERY_S = 10.0
"""Seconds between two lines of progress in a log."""

_SILENCED: list[bool] = []  # not empty after `be_quiet`
_OPEN: "dict[int, _Bar]" = {}  # bars that are shown now, by identity: tqdm compares them by position
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


def is_rank_zero() -> bool:
    """Tell whether this process may print, by the rank that launchers put into the environment.

    `torchrun` sets RANK, which counts even below `srun`. SLURM sets SLURM_PROCID, also in a shell in which Lightning
    then numbers its processes by LOCAL_RANK.
    """
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def forget_ranks() -> None:
    """Remove what a launcher put into the environment: for a command that is the same in every process.

    Such variables may also be left over, from a container or the shell of a SLURM job: the command must not be silent.
    """
    for name in (*_RANKS, "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        os.environ.pop(name, None)


def be_quiet(quiet: bool) -> bool:
    """Show no progress and say nothing from now on, or do again: errors and results are printed by others.

    Returns:
        Whether it was quiet before.
    """
    before = bool(_SILENCED)
    _SILENCED[:] = [True] * quiet
    return before


def is_quiet() -> bool:
    """Tell whether this process shows nothing: it is not rank 0, was told to be quiet, or has no stderr."""
    return bool(_SILENCED) or sys.stderr is None or not is_rank_zero()


def say(text: str) -> None:
    """Write one line to stderr, on rank 0 only; above a bar, if one is shown."""
    if is_quiet():
        return
    text = escape(hide(text, os.environ), keep="\n\t")  # tables have several lines
    with suppress(OSError, ValueError):  # full, closed, or a pipe that nobody reads: work does not end for that
        # Not imported for this: if it is not loaded, no bar is shown.
        if (tqdm := sys.modules.get("tqdm")) is not None:
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def no_note() -> str:
    """Return the note of a bar that has none."""
    return ""


def track(
    items: Iterable[T], *, total: int, unit: str, label: str, done: int = 0, note: Callable[[], str] = no_note
) -> Iterator[T]:
    """Yield `items` under a bar with rate and ETA.

    A terminal gets a live bar; a log file gets a line every `LINE_EVERY_S`.

    Args:
        items: What to iterate.
        total: Number of items, with those in `done`.
        unit: Name of one item, such as "samples".
        label: Name of the work, such as "verify".
        done: Number of items that an earlier run finished and that are not in `items`.
        note: Says what stands behind the bar, in a few words; asked whenever it is drawn.
    """
    with _shown(total=total, done=done, unit=unit, label=label, note=note) as bar:
        for item in items:
            yield item
            bar.update(1)


class Meter:
    """A bar of bytes with rate and ETA, on stderr, whose numbers can be read; shown as that of `track`.

    Args:
        total: Number of bytes, with those in `done`.
        done: Bytes that an earlier run finished; they do not count for the rate.
        label: Name of the work.
    """

    def __init__(self, total: int, done: int, label: str) -> None:
        self._shown = _shown(total=total, done=done, unit="B", label=label)
        self._bar = self._shown.__enter__()
        self._left = total - done
        self.begin_measuring()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.__exit__(kind, error, at)

    def advance(self, count: int) -> None:
        """Count `count` more bytes as done."""
        self._left -= count
        self._moved += count
        self._bar.update(count)

    def begin_measuring(self) -> None:
        """Measure the rate from now on."""
        self._moved, self._start = 0, time.monotonic()

    @property
    def bytes_left(self) -> int:
        """Bytes that are not done yet."""
        return self._left

    @property
    def rate(self) -> float:
        """Bytes a second since measuring began."""
        return self._moved / max(time.monotonic() - self._start, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds for the rest, at the measured rate; infinite before anything is done."""
        return self._left / self.rate if self._moved else float("inf")


class _Bar(Protocol):
    """What shows progress."""

    def update(self, count: int) -> object:
        """Count `count` more as done."""
        ...

    def close(self) -> None:
        """End it, where it stands."""
        ...


@contextmanager
def _shown(*, total: int, done: int, unit: str, label: str, note: Callable[[], str] = no_note) -> Iterator[_Bar]:
    """Show a bar during the block: on a terminal, in lines, or not at all."""
    bar: _Bar
    if is_quiet():
        bar = _Nothing()
    elif sys.stderr.isatty():
        bar = _Live(total, done, unit, label, note)
    else:
        bar = _Lines(total, done, unit, label, note)
    _OPEN[id(bar)] = bar
    try:
        yield bar
    finally:
        del _OPEN[id(bar)]
        bar.close()


def is_bar_shown() -> bool:
    """Tell whether the last line of a terminal is that of a bar."""
    return bool(_OPEN) and not is_quiet() and sys.stderr.isatty()


def close_bars() -> None:
    """End all bars where they stand, so that what is written next begins a line."""
    for bar in list(_OPEN.values()):
        bar.close()


class _Live:
    """A bar on a terminal, redrawn where it stands."""

    def __init__(self, total: int, done: int, unit: str, label: str, note: Callable[[], str]) -> None:
        from tqdm import tqdm  # takes a tenth of a second: only where a bar is made

        in_bytes = unit == "B"
        self._note = note
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="B" if in_bytes else f" {unit}",
            unit_scale=in_bytes,
            desc=label,
            mininterval=0.1,
            smoothing=0 if in_bytes else 0.3,  # 0: the mean of the whole run, as `Meter.rate`
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def update(self, count: int) -> None:
        """Count `count` more as done."""
        self._bar.set_postfix_str(self._note(), refresh=False)
        self._bar.update(count)

    def close(self) -> None:
        """End it, where it stands."""
        self._bar.close()


class _Nothing:
    """A bar that is not shown."""

    def update(self, count: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Lines:
    """A bar in whole lines, for a log: one every `LINE_EVERY_S`, and one at the end if there was one before.

    A line has the time, the rank if there are several, how much is done, the rate, the time that is left, and the note.
    """

    def __init__(self, total: int, done: int, unit: str, label: str, note: Callable[[], str]) -> None:
        self._total, self._done, self._unit, self._label, self._note = total, done, unit, label, note
        self._first, self._begin, self._written = done, time.monotonic(), False
        self._next = self._begin + LINE_EVERY_S

    def update(self, count: int) -> None:
        """Count `count` more as done."""
        self._done += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY_S
            self._write()

    def close(self) -> None:
        """Write where it stands, unless it was too short for a line."""
        if self._written:
            self._write()
            self._written = False  # once

    def _write(self) -> None:
        self._written = True
        seconds = max(time.monotonic() - self._begin, 1e-9)
        rate = (self._done - self._first) / seconds
        left = f", {spoken((self._total - self._done) / rate)} left" if rate and self._done < self._total else ""
        note = f"; {text}" if (text := self._note()) else ""
        share = f" ({100 * self._done / self._total:.0f} %)" if self._total else ""
        say(
            f"{datetime.now():%Y-%m-%d %H:%M:%S} {_rank()}{self._label}: {self._amount(self._done)} of "
            f"{self._amount(self._total, named=True)}{share}, {self._amount(rate, named=True)}/s{left}{note}"
        )

    def _amount(self, count: float, *, named: bool = False) -> str:
        if self._unit == "B":
            return f"{count / 1e6:.1f}" + " MB" * named
        number = f"{count:.0f}" if isinstance(count, int) or count >= 100 else f"{count:.3g}"
        return number + f" {self._unit}" * named


def _rank() -> str:
    several = any(os.environ.get(name, "1") != "1" for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    names = [name for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    return f"rank {os.environ[names[0]]}: " if several and names else ""


def spoken(seconds: float) -> str:
    """Format a duration for people: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
