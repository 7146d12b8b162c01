"""Encoding and decoding of the parts of a sample.

Image: `ppm`, plain pixels; `jpg`, `png`, ...: an image file as it is. Depth, by the extension of its member:
`planes.npy`, byte planes; `npy`, a float32 array; `log16.png`, 16-bit log depth. Valid: `npy`, a bool array; `png`, one
bit a pixel. Sets are made with the first of each; the others are read, from sets made earlier or elsewhere.
"""

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
"""Formats that are opened (MPO is one of JPEG); Pillow would run a program on others (EPS)."""

_FAILURES = (
    *(OSError, ValueError, SyntaxError, LookupError, ArithmeticError, TypeError, AttributeError, AssertionError),
    *(EOFError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises on files that are damaged, or made to do damage."""

_JPEG_MAX_SIDE = 65500
"""libjpeg's own limit."""


@contextmanager
def open_image(data: bytes, expected: str = "a readable image") -> Iterator[Image.Image]:
    """Open an image file; what fails to open or to decode within the block is an error that says what was expected.

    Raises:
        DataError: It is no image, truncated (whatever else this process has imported), or larger than `MAX_PIXELS`.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # lightly_train turns it on for the whole process when it is imported
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_pixels(image.size)
            yield image
    except _FAILURES as error:
        # Pillow names the buffer by its address, which is another one each time.
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
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) as JPEG, quality 95, colour at full resolution (4:4:4).

    Raises:
        DataError: A side is longer than a JPEG can have.
    """
    if max(image.shape) > _JPEG_MAX_SIDE:
        raise DataError(
            f"expected sides of at most {_JPEG_MAX_SIDE} pixels for a JPEG, found {image.shape[0]} x {image.shape[1]} "
            "(height x width)"
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
