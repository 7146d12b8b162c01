"""A picture to predict from: a file, a PIL image or an array, as 8-bit RGB, upright, with its focal length if known."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sharding.codecs.image import open_image, to_rgb
from sharding.errors import DataError, UsageError
from sharding.limits import MAX_MEMBER_BYTES
from sharding.machine.regular import read_regular
from training.prediction.focal import read_focal_px
from training.prediction.levels import to_rgb8

PhotoSource = str | os.PathLike[str] | Image.Image | NDArray[Any]
"""What a photo can be made from: see `read_photo`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A picture and its camera.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        focal_px: Focal length in pixels of `image`; None if it is not known.

    Raises:
        UsageError: The focal length is not positive and finite.
    """

    image: NDArray[np.uint8]
    focal_px: float | None = None

    def __post_init__(self) -> None:
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise UsageError(f"expected a focal length above 0 pixels, found {self.focal_px}")


def read_photo(source: PhotoSource, focal_px: float | None = None) -> Photo:
    """Read a picture of any mode, rotated as its EXIF orientation tells.

    16-bit levels are divided by 257; floating point ones, which must be within [0, 1], are multiplied by 255.
    Transparency is dropped; palettes and CMYK are converted to RGB.

    Args:
        source: An image file, a PIL image, or an array as `to_rgb8` takes it.
        focal_px: Focal length in pixels of the image; None takes what its EXIF data tell.

    Raises:
        DataError: The file is missing, larger than `MAX_MEMBER_BYTES`, or is not a readable image.
        ValueError: An array or PIL image is none of 8-bit or 16-bit levels, or of floating point levels within [0, 1];
            or the focal length is not positive and finite.
    """
    if isinstance(source, np.ndarray):
        return Photo(image=to_rgb8(source), focal_px=focal_px)
    if isinstance(source, Image.Image):
        return _from_pil(source, focal_px)
    file = Path(source)
    try:
        with open_image(read_regular(file, MAX_MEMBER_BYTES), take_floats=True) as image:
            return _from_pil(image, focal_px)
    except OSError as error:
        raise DataError(f"{file}: expected a readable image: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _from_pil(image: Image.Image, focal_px: float | None) -> Photo:
    focal_px = read_focal_px(image) if focal_px is None else focal_px
    upright = ImageOps.exif_transpose(image)
    levels = np.asarray(upright if upright.mode == "F" else to_rgb(upright))
    return Photo(image=to_rgb8(levels), focal_px=focal_px)
