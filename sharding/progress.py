"""What a person sees while long work runs: bars with rate and ETA, and plain lines, both on stderr.

Only rank 0 speaks. Knows nothing of what is being done.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def is_rank_zero() -> bool:
    """Whether this process may speak: launchers name the rank in the environment before anything else exists.

    `torchrun` sets RANK, which counts even below `srun`. SLURM sets SLURM_PROCID, also in a shell in which Lightning
    then numbers its processes by LOCAL_RANK.
    """
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def say(text: str) -> None:
    """Write one line to stderr, on rank 0 only; above a bar, if one is shown."""
    if not is_rank_zero():
        return
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
        total: How many items there are.
        unit: Name of one item, such as "samples".
        label: What is being done, such as "verify".
        done: How many of them were done before, and are not in `items`.
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
