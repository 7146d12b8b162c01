"""The newest checkpoint of a folder that is not damaged, and renaming and cleaning up around it."""

import os
from pathlib import Path

from sharding.errors import DataError
from sharding.progress import is_rank_zero, say
from training.checkpoint.state import TrainState
from training.torch_file import find_damage

LAST_NAME, PREVIOUS_NAME = "last.ckpt", "last-1.ckpt"
DAMAGED_NAME = "damaged.ckpt"


def find_newest(folder: Path) -> Path | None:
    """Return the last checkpoint, or the one before it if the last is damaged, which is reported.

    Every rank may call this at the same time and gets the same answer. Rank 0 renames a damaged last one to
    `damaged.ckpt`, so that it never replaces the good one before it.

    Args:
        folder: Folder of `last.ckpt` and `last-1.ckpt`; one or both may be missing.

    Returns:
        None if there is no checkpoint.

    Raises:
        DataError: All that exist are damaged.
    """
    damaged: dict[Path, str] = {}
    for path in (folder / LAST_NAME, folder / PREVIOUS_NAME):
        damage = find_damage(path)
        if damage is None:
            _set_aside(damaged, path)
            return path
        if damage:  # "" is a missing file
            damaged[path] = damage
    if damaged:
        listed = "; ".join(f"{path.name}: {text}" for path, text in damaged.items())
        raise DataError(f"{folder}: every checkpoint is damaged ({listed}); remove them to begin the run again")
    return None


def _set_aside(damaged: dict[Path, str], good: Path) -> None:
    for path, text in damaged.items():
        say(f"{path} is damaged ({text}) and now named {DAMAGED_NAME}; resuming from the one before it, {good.name}")
        if is_rank_zero():
            # A rank that looks only after this finds no last checkpoint, and takes the same one before it.
            os.replace(path, path.with_name(DAMAGED_NAME))


def say_resumed(checkpoint: Path, state: TrainState) -> None:
    """Report the checkpoint that a run resumes from."""
    say(f"resume: {checkpoint}, {checkpoint.stat().st_size / 1e6:,.1f} MB: {state}")


def remove_leftovers(folder: Path) -> None:
    """Remove files that a killed process left half written; for the one process that writes here."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def keep_as_previous(folder: Path) -> None:
    """Make the last checkpoint the previous one as well, so that there is a whole one at every moment."""
    last, spare = folder / LAST_NAME, folder / f".{PREVIOUS_NAME}.tmp"
    if not last.is_file():
        return
    spare.unlink(missing_ok=True)  # left by a kill, or by a rename of two links to one file, which does nothing
    # A second link to the same file, then an atomic rename: both names point to a whole file all the time.
    try:
        os.link(last, spare)
    except OSError:  # a file system without hard links
        os.replace(last, folder / PREVIOUS_NAME)
    else:
        os.replace(spare, folder / PREVIOUS_NAME)
