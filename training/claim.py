"""Whether a run may write to a folder, and the lock that keeps a second one out of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sharding.errors import UsageError
from sharding.machine.exclusive import check_free, exclusive
from sharding.machine.files import check_writable
from sharding.progress import is_rank_zero, say
from training.runfolder import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    CURVES_NAME,
    ENCODER_NAME,
    LIGHTLY_CACHE_NAME,
    LIGHTLY_NAME,
    LIGHTNING_NAME,
    METRICS_NAME,
    SETS_NAME,
    TENSORBOARD_NAME,
    WANDB_NAME,
)

BEFORE_NAME = "config-before.yaml"
"""Options of a start that came to nothing, or of another program: set aside when a run begins in its folder."""

# What a run writes before its first epoch ends, or its first checkpoint.
_WRITTEN = (CHECKPOINTS_NAME, TENSORBOARD_NAME, LIGHTLY_NAME, LIGHTLY_CACHE_NAME, LIGHTNING_NAME)
_STARTED = {CONFIG_NAME, BEFORE_NAME, SETS_NAME, WANDB_NAME, *_WRITTEN}
_BUSY = "{out}: another process trains this run; wait until it ends, or end it, or give another --out"


def has_run(out: str | Path) -> bool:
    """Tell whether a folder holds anything that a run has learned: a checkpoint, even damaged, an encoder, metrics."""
    folder = Path(out)
    results = any((folder / name).exists() for name in (ENCODER_NAME, METRICS_NAME, CURVES_NAME))
    return results or any((folder / CHECKPOINTS_NAME).glob("[!.]*"))


def check_claim(out: str | Path, resume: bool, *, alone: bool = False) -> None:
    """Check that a run may begin in a folder, or resume there; nothing is made.

    Other ranks than 0 check nothing: they may find what rank 0 has written by now. A start that came to nothing is no
    obstacle, whatever its options were.

    Args:
        out: The folder.
        resume: Whether its run is to go on.
        alone: Whether this process holds the folder already.

    Raises:
        UsageError: The folder holds a run and `resume` is False, or holds other files, or cannot be a folder; or
            another process trains there.
    """
    folder = Path(out)
    if not is_rank_zero():
        return
    check_writable(out, "--out", folder=True)
    if not folder.is_dir():
        return
    if not alone:
        check_free(folder, _BUSY.format(out=out))
    _check_folders(folder)
    if resume:
        return
    if has_run(folder):
        raise UsageError(f"{out} is not empty; give --resume to continue its run, or another --out")
    # Hidden files, such as those that a killed process left half written, are in nobody's way.
    others = sorted(path.name for path in folder.glob("[!.]*") if path.name not in _STARTED)
    if others:
        raise UsageError(f"{out} is not empty: {others[0]} is not of a run; give an empty or a new folder as --out")


def _check_folders(folder: Path) -> None:
    """Check that no link leads out of the folders that a run writes to: in one from somebody else it leads anywhere.

    Files directly in the run folder are replaced, and with them a link.

    Raises:
        UsageError: One does, or something else than a file is there.
    """
    below = [path for top in _WRITTEN for path in (folder / top, *_below(folder / top))]
    for path in (*below, folder / WANDB_NAME):  # wandb itself puts links there, and writes to new folders
        with suppress(FileNotFoundError):  # it may be a temporary file
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                found = "a link" if stat.S_ISLNK(mode) else "something else"
                raise UsageError(
                    f"{path}: expected a file or a folder, found {found}, and a run writes there; remove it, or "
                    "put there what it leads to (to have all of a run elsewhere, make --out a link)"
                )


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *names))


@contextmanager
def claimed(out: str | Path, resume: bool) -> Iterator[Path]:
    """Make the run folder, or take the existing one, and keep other runs out of it during the block.

    Rank 0 checks and locks; the other ranks find what it has written. Nothing is removed.

    Raises:
        UsageError: See `check_claim`; or another process trains there.
    """
    folder = Path(out)
    if not is_rank_zero():
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with exclusive(folder, _BUSY.format(out=out), say):
        check_claim(folder, resume, alone=True)  # again: another may have trained since
        if not has_run(folder) and (folder / CONFIG_NAME).is_file():
            os.replace(folder / CONFIG_NAME, folder / BEFORE_NAME)
        yield folder
