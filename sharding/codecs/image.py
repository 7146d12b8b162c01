"""Image files: opened safely, decoded to RGB pixels, encoded as JPEG."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from sharding.codecs.limits import check_pixels
from sharding.codecs.ppm import view_ppm
from sharding.errors import DataError

_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow formats that are opened (JPEG includes MPO); for others, such as EPS, Pillow would run a program."""

_FAILURES = (
    *(OSError, ValueError, SyntaxError, LookupError, ArithmeticError, TypeError, AttributeError, AssertionError),
    *(EOFError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""Exceptions that Pillow raises on damaged or malicious files."""

_JPEG_MAX_SIDE = 65500
"""Largest height or width in pixels: libjpeg's JPEG_MAX_DIMENSION."""


@contextmanager
def open_image(data: bytes, expected: str = "a readable image") -> Iterator[Image.Image]:
    """Open an image file for the block, which decodes it; failures in the block become a DataError, too.

    Args:
        data: The file.
        expected: What was expected, for the message.

    Raises:
        DataError: It is no image, truncated, or larger than `MAX_PIXELS`, or the block failed.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # lightly_train turns it on for the whole process when it is imported
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_pixels(image.size)
            yield image
    except _FAILURES as error:
        # Pillow's own message contains the address of the buffer, which differs each time.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
        raise DataError(f"expected {expected}, found {len(data)} bytes that fail to decode: {reason}") from error


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file of any format and mode to uint8 (H, W, 3) RGB, read-only; EXIF rotation is not applied.

    Raises:
        DataError: It is no image, truncated, or larger than `MAX_PIXELS`.
    """
    plain = view_ppm(data)
    if plain is not None:
        return plain
    with open_image(data) as image:
        return np.asarray(to_rgb(image), dtype=np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit grey is scaled to 8 bits, transparency is dropped."""
    if image.mode.startswith("I"):  # "I" or "I;16": 0..65535 = 257 * 255
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) as JPEG, quality 95, colour at full resolution (4:4:4).

    Raises:
        DataError: A side is longer than 65500 pixels, the limit of libjpeg.
    """
    if max(image.shape) > _JPEG_MAX_SIDE:
        raise DataError(
            f"expected sides of at most {_JPEG_MAX_SIDE} pixels for a JPEG, found {image.shape[0]} x {image.shape[1]} "
            "(height x width)"
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
