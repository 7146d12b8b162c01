"""The newest checkpoint of a folder that is whole."""

import os
import zipfile
from pathlib import Path

from sharding.errors import DataError
from sharding.progress import is_rank_zero, say
from training.checkpoint.state import TrainState

LAST_NAME, PREVIOUS_NAME = "last.ckpt", "last-1.ckpt"
DAMAGED_NAME = "damaged.ckpt"


def find_newest(folder: Path) -> Path | None:
    """The last checkpoint, or the one before it if the last is damaged, which is reported.

    Every rank may ask at the same time and comes to the same answer. A damaged last one is renamed by rank 0 to
    `damaged.ckpt`, so that it never takes the place of the good one before it.

    Args:
        folder: With `last.ckpt` and `last-1.ckpt`; one or both may be missing.

    Returns:
        None if there is none.

    Raises:
        DataError: There are some, and all are damaged.
    """
    damaged: dict[Path, str] = {}
    for path in (folder / LAST_NAME, folder / PREVIOUS_NAME):
        damage = find_damage(path)
        if damage is None:
            _set_aside(damaged, path)
            return path
        if damage:
            damaged[path] = damage
    if damaged:
        listed = "; ".join(f"{path.name}: {text}" for path, text in damaged.items())
        raise DataError(f"{folder}: no checkpoint is whole ({listed}); remove them to begin the run again")
    return None


def _set_aside(damaged: dict[Path, str], good: Path) -> None:
    for path, text in damaged.items():
        say(f"{path} is damaged ({text}) and now named {DAMAGED_NAME}; going on from the one before it, {good.name}")
        if is_rank_zero():
            os.replace(path, path.with_name(DAMAGED_NAME))


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file: reads it once, and checks the checksum of every tensor.

    Returns:
        None if it is whole, "" if it is not there.

    Source: torch.save writes a zip archive (torch.serialization); a truncated one lacks its directory, at the end.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except FileNotFoundError:
        return ""
    except Exception as error:  # what zipfile raises of damaged records is anything, and may have no text
        return str(error) or repr(error)
    return None if bad is None else f"checksum of {bad} does not match"


def say_resumed(checkpoint: Path, state: TrainState) -> None:
    """Say where a run goes on."""
    say(f"resume: {checkpoint}, {checkpoint.stat().st_size / 1e6:,.1f} MB: {state}")


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill left half written; for the one process that writes here."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def keep_as_previous(folder: Path) -> None:
    """Make the last checkpoint the previous one as well, so that at each moment a whole one is there."""
    last, spare = folder / LAST_NAME, folder / f".{PREVIOUS_NAME}.tmp"
    if not last.is_file():
        return
    spare.unlink(missing_ok=True)
    try:
        os.link(last, spare)
    except OSError:  # a file system without hard links
        os.replace(last, folder / PREVIOUS_NAME)
    else:
        os.replace(spare, folder / PREVIOUS_NAME)
