"""Decode images at a fraction of their size: libjpeg computes 1/2, 1/4 and 1/8 of a JPEG from fewer coefficients.

cv2 has the pixels of Pillow's `draft` (both use libjpeg-turbo) in less time, and at full size those of torchvision.
`sharding.codecs.image` decides alone what is an image and what is refused. What is no plain JPEG is decoded whole.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sharding.codecs.image import decode_image, open_image, to_rgb
from sharding.codecs.npy import NPY_MAGIC
from sharding.codecs.rows import view_rows
from training.views.draws import Array, Draws
from training.views.recipe import ViewRecipe

_START = b"\xff\xd8\xff"
_MODES = ("RGB", "L")  # Pillow's names; what others become differs
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_FLAGS = {
    1: _RGB,
    2: _RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""Divisors of the size, and cv2's flags; the flag of the size and that of the colours are combined."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """Height and width of an image file in pixels, and whether it can be decoded at a fraction of them."""

    height: int
    width: int
    reducible: bool


def read_size(data: bytes) -> Header:
    """Read the header of an image part.

    Raises:
        DataError: It is no image, or too large.
    """
    if data.startswith(NPY_MAGIC):
        height, width, _ = view_rows(data).shape
        return Header(height=height, width=width, reducible=False)
    with open_image(data) as image:
        width, height = image.size
        return Header(height=height, width=width, reducible=data.startswith(_START) and image.mode in _MODES)


def choose_divisors(recipe: tuple[ViewRecipe, ...], draws: Draws) -> NDArray[np.int64]:
    """Return for each of B images the largest of 1, 2, 4 and 8 that its size may be divided by: int64 (B,).

    A view that LightlyTrain would not enlarge is not enlarged; an image with one that it enlarges is decoded whole.
    """
    heights, widths = (np.array([getattr(view, side) for view in recipe]) for side in ("height", "width"))  # (V,)
    shrink: Array = np.minimum(draws.height / heights, draws.width / widths).min(axis=1)  # (B,)
    return np.select([shrink >= 8, shrink >= 4, shrink >= 2], [8, 4, 2], 1).astype(np.int64)


def decode_reduced(data: bytes, divisor: int, header: Header) -> NDArray[np.uint8]:
    """Decode an image file at a fraction of its size: uint8 (ceil(H / divisor), ceil(W / divisor), 3), RGB.

    Pixel (y, x) covers the square of `divisor` pixels that begins at (y, x) * divisor; the last ones may be cut. EXIF
    rotation is not applied.

    Args:
        data: The file.
        divisor: 1, 2, 4 or 8; 1 if the header says that it is not reducible.
        header: Of the file.

    Raises:
        DataError: It is damaged.
    """
    if not header.reducible:
        return decode_image(data)
    expected = -(-header.height // divisor), -(-header.width // divisor), 3
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[divisor])
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape != expected:  # damaged or unusual: Pillow tells what, or reads it
        with open_image(data) as image:
            return np.asarray(to_rgb(image).reduce(divisor), dtype=np.uint8)
    return np.asarray(pixels, dtype=np.uint8)
