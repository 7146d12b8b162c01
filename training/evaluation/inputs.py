"""Which images `predict` was given, by files, folders and patterns, and what the results of each are called."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding.errors import UsageError, named_by_user
from sharding.reading.missing import suggest_path
from sharding.sources.walk import Walk

ARRAY, CODED, VIEW = ".npy", ".depth.png", ".view.png"
"""How the names of the three results of `predict` end, behind the name of the input."""

PICTURES = (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""How the names of pictures end that are taken from a folder or a pattern, in small letters; a file given is taken."""


@dataclass(frozen=True, slots=True)
class Input:
    """An image to predict.

    Attributes:
        file: Its path.
        name: Path of its results below the folder for all, without their ending: "holiday/beach".
    """

    file: Path
    name: str


def find_inputs(images: Sequence[str], out: str) -> list[Input]:
    """Find all images: the files given, all pictures below folders, and those that patterns match.

    A picture below a folder keeps its path from there, one matched by a pattern its path from the last folder before
    the first of the characters `*?[`. Names that begin with a dot, results of `predict`, and the folder for the results
    are passed over.

    Args:
        images: Paths and patterns; an existing path is never a pattern.
        out: Folder for the results.

    Returns:
        The images in the order given, those of a folder or a pattern sorted; each once.

    Raises:
        UsageError: A path is missing or a folder cannot be read, there is no picture in it, or several images have
            results of one name.
    """
    found = list(dict.fromkeys(one for image in images for one in _expand(image, out)))
    names = Counter(one.name for one in found)
    if twice := sorted(name for name, times in names.items() if times > 1):
        raise UsageError(
            f"several images are called {', '.join(twice)}, and their depth maps would overwrite each other; "
            "predict them into folders of their own, or give a folder above them"
        )
    return found


def _expand(image: str, out: str) -> list[Input]:
    path = Path(image)
    if path.is_file():
        return [Input(path, path.stem)]
    if path.is_dir():
        found = list(_below(path, path, out))
    elif not path.exists() and any(letter in image for letter in "*?["):
        base = _before_pattern(path)
        paths = sorted(map(Path, glob.glob(image, recursive=True)))
        found = [one for there in paths for one in (_below if there.is_dir() else _single)(there, base, out)]
    else:
        other = "something else" if path.exists() else f"nothing{suggest_path(path)}"
        raise UsageError(f"{image}: expected an image file, a folder or a pattern, found {other}")
    if not found:
        raise UsageError(f"{image}: expected pictures ({', '.join(PICTURES)}), found none")
    return found


def _before_pattern(pattern: Path) -> Path:
    """Return the folder before the first part with a wildcard."""
    parts = pattern.parts
    first = next(at for at, part in enumerate(parts) if any(letter in part for letter in "*?["))
    return Path(*parts[:first])


def _below(folder: Path, base: Path, out: str) -> Iterator[Input]:
    """List the pictures below a folder; links are followed."""
    inside = Path(os.path.realpath(folder)) in Path(os.path.realpath(out)).parents
    with named_by_user():
        files = Walk(folder.absolute(), out if inside else None).files()
    for file in files:
        yield from _single(folder / Path(*Path(file.name).parts[1:]), base, out)


def _single(file: Path, base: Path, out: str) -> Iterator[Input]:
    name, result = file.name.lower(), (CODED, VIEW)
    if name.endswith(PICTURES) and not name.startswith(".") and not name.endswith(result):
        yield Input(file, str(file.relative_to(base).with_suffix("")))
