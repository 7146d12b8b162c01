"""Hand over what was generated: folders, or archives as published, all of it or nothing."""

import gzip
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sharding.errors import UsageError
from sharding.machine.scratch import Scratch
from sharding.toyworld.dice import Dice

T = TypeVar("T")

_PURPOSE = 4
_ARCHIVES = {"phoenix": "MegaDepth_v1.tar.gz", "train": "train.tar.gz", "val": "val.tar.gz"}


def deliver(out: Path, tops: Sequence[str], build: Callable[[Path], T], archive_seed: int | None = None) -> T:
    """Build in a temporary folder next to the goal, then move the result into place.

    Args:
        out: Folder to write into; made if it does not exist.
        tops: Folders that `build` makes.
        build: Writes those folders into the folder it is given.
        archive_seed: Pack each folder into its published archive, members in an order drawn from it; None: do not.

    Returns:
        What `build` returned.

    Raises:
        UsageError: `out` is a file, or already holds one of the results.
    """
    names = {top: top if archive_seed is None else _ARCHIVES[top] for top in tops}
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; expected a folder to write into")
    if found := [name for name in names.values() if (out / name).exists()]:
        raise UsageError(f"{out} already holds {', '.join(found)}; remove it or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    with closing(Scratch(out)) as scratch:
        temporary = scratch.path
        result = build(temporary)
        for top, name in names.items():
            if archive_seed is not None:
                pack_tree(temporary / top, temporary / name, archive_seed)
            os.replace(temporary / name, out / name)
    return result


def pack_tree(folder: Path, archive: Path, seed: int) -> None:
    """Write `folder` as a .tar.gz whose bytes depend on names, contents and `seed` alone.

    Members come folder by folder, in the disorder in which a file system lists them, directories before their content.
    """
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,  # no name and no time in its header
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in list_unsorted(folder, seed):
            member = tarfile.TarInfo(path.relative_to(folder.parent).as_posix())
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.size = path.stat().st_size
                with path.open("rb") as content:
                    tar.addfile(member, content)


def list_unsorted(folder: Path, seed: int) -> list[Path]:
    """Return `folder` and everything below it, each folder's entries in an order drawn from `seed`."""
    found = [folder]
    entries = sorted(folder.iterdir())
    for path in Dice(seed, _PURPOSE, len(entries)).shuffled(entries):
        found += list_unsorted(path, seed) if path.is_dir() else [path]
    return found
