"""Photographs of a folder, cut to the size that a benchmark wants; not a program itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.errors import UsageError

_SUFFIXES = (".jpg", ".jpeg")


def find_photographs(folder: Path) -> list[Path]:
    """Return the JPEG files below a folder, in order of their paths.

    Raises:
        UsageError: There are none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UsageError(f"--photos {folder}: expected .jpg files, found none")
    return found


def cut_photographs(photographs: Sequence[Path], count: int, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Yield photographs, repeated up to `count`, each turned to landscape, cut about its middle and scaled.

    Args:
        photographs: At least one.
        count: How many images.
        height: Of each image, pixels.
        width: The same, at least `height`.
    """
    for number in range(count):
        with Image.open(photographs[number % len(photographs)]) as photograph:
            picture = photograph.convert("RGB")
        if picture.height > picture.width:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        across = min(picture.width, picture.height * width // height)
        down = across * height // width
        left, top = (picture.width - across) // 2, (picture.height - down) // 2
        box = (left, top, left + across, top + down)
        yield np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box))
