"""Progress of long work on stderr: bars with rate and ETA, and plain lines. Only rank 0 prints."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

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


def say(text: str) -> None:
    """Write one line to stderr, on rank 0 only; above a bar, if one is shown."""
    if not is_rank_zero():
        return
    # Not imported for this: if it is not loaded, no bar is shown.
    if (tqdm := sys.modules.get("tqdm")) is not None:
        tqdm.tqdm.write(text, file=sys.stderr)
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def track(items: Iterable[T], *, total: int, unit: str, label: str, done: int = 0) -> Iterator[T]:
    """Yield `items` under a bar with rate and ETA.

    A terminal gets a live bar; a log file gets a line every ten seconds or so.

    Args:
        items: What to iterate.
        total: Number of items, with those in `done`.
        unit: Name of one item, such as "samples".
        label: Name of the work, such as "verify".
        done: Number of items that an earlier run finished and that are not in `items`.
    """
    from tqdm import tqdm

    live = sys.stderr.isatty()
    with tqdm(
        items,
        total=total,
        initial=done,
        unit=" " + unit,
        desc=label,
        disable=not is_rank_zero(),
        mininterval=0.1 if live else 10,
        dynamic_ncols=live,
    ) as bar:
        yield from bar


class Meter:
    """A bar of bytes with rate and ETA, on stderr, whose numbers can be read.

    A terminal gets a live bar; a log file gets a line every ten seconds or so.

    Args:
        total: Number of bytes, with those in `done`.
        done: Bytes that an earlier run finished; they do not count for the rate.
        label: Name of the work.
    """

    def __init__(self, total: int, done: int, label: str) -> None:
        from tqdm import tqdm  # takes a tenth of a second: only where a bar is made

        live = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="B",
            unit_scale=True,
            desc=label,
            disable=not is_rank_zero(),
            mininterval=0.1 if live else 10,
            smoothing=0,  # the mean of the whole run, as `rate`
            dynamic_ncols=live,
        )
        self._left = total - done
        self.begin_measuring()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

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


def spoken(seconds: float) -> str:
    """Format a duration for people: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
