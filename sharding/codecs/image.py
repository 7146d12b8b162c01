"""Image files: opened safely, decoded to RGB pixels, encoded as JPEG."""

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from sharding.codecs.limits import check_pixels
from sharding.codecs.npy import NPY_MAGIC
from sharding.codecs.pieces import check_pieces
from sharding.codecs.ppm import view_ppm
from sharding.codecs.rows import decode_rows
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


class _Strictly:
    """A context in which Pillow refuses truncated images, whatever the process has chosen; threads may share it.

    With `LOAD_TRUNCATED_IMAGES`, which lightly_train sets when it is imported, Pillow fills what is missing with grey.
    """

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # a thread that the child lacks may hold the lock

    def _begin(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_STRICT = _Strictly()


@contextmanager
def open_image(data: bytes, expected: str = "a readable image", *, take_floats: bool = False) -> Iterator[Image.Image]:
    """Open an image file for the block, which decodes it; failures in the block become a DataError, too.

    Args:
        data: The file.
        expected: What was expected, for the message.
        take_floats: Whether floating point levels are opened, too (mode "F"); the block must check their range.

    Raises:
        DataError: It is no image, truncated, larger than `MAX_PIXELS`, or of levels without a known range, or the block
            failed.
    """
    Image.MAX_IMAGE_PIXELS = None  # `check_pixels` takes its place, and can be raised
    try:
        check_pieces(data)
        with _STRICT, Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_pixels(image.size)
            _check_levels(image, take_floats)
            _check_tiles(image)
            yield image
    except _FAILURES as error:
        # Pillow's own message contains the address of the buffer, which differs each time.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
        raise DataError(f"expected {expected}, found {len(data)} bytes that fail to decode: {reason}") from error


def _check_levels(image: Image.Image, take_floats: bool) -> None:
    """Refuse an image whose darkest and brightest levels its file does not tell: any guess makes it black or white.

    Raises:
        ValueError: It is floating point, or a grey TIFF whose levels are not 0 for black to 65535 for white.
    """
    found = "floating point" if image.mode == "F" and not take_floats else ""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode.startswith("I"):
        tags = image.tag_v2
        bits, signs = tags.get(TiffImagePlugin.BITSPERSAMPLE), tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
        white = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
        if (bits, signs, white) != ((16,), (1,), 1):  # unsigned; 1 means that 0 is black
            found = f"grey of {bits} bits, sample format {signs}, photometric interpretation {white}"
    if found:
        raise ValueError(f"levels from 0 to 255 or from 0 to 65535 are read, these are {found}; save it as such")


def _check_tiles(image: Image.Image) -> None:
    """Refuse a TIFF in tiles that are too large: memory is taken for a whole one, however small the image is.

    Raises:
        ValueError: A tile has more than `MAX_PIXELS` pixels.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        sides = [image.tag_v2.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        check_pixels([int(side) for side in sides])


def decode_image(data: bytes | memoryview) -> NDArray[np.uint8]:
    """Decode an image part to uint8 (H, W, 3) RGB; EXIF rotation is not applied.

    Args:
        data: Differences of rows (`sharding.codecs.rows`), or an image file of any format and mode.

    Returns:
        Pixels that may be read-only.

    Raises:
        DataError: It is no image, truncated, larger than `MAX_PIXELS`, or of levels without a known range.
    """
    if data[: len(NPY_MAGIC)] == NPY_MAGIC:
        return decode_rows(data)
    plain = view_ppm(data)
    if plain is not None:
        return plain
    with open_image(bytes(data)) as image:
        return np.asarray(to_rgb(image), dtype=np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit grey is rounded to 8 bits, transparency is dropped."""
    if image.mode.startswith("I"):  # "I" or "I;16": 0..65535 = 257 * 255
        image = Image.fromarray(_round_levels(np.asarray(image)))
    return image.convert("RGB")


def _round_levels(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Round 16-bit levels to 8 bits: uint8 (H, W) of integers (H, W)."""
    rounded = np.empty(levels.shape, np.uint8)
    for row, found in zip(rounded, levels, strict=True):  # one by one, which takes no memory
        row[:] = (found.astype(np.int32).clip(0, 65535) + 128) // 257
    return rounded


def encode_jpeg(image: NDArray[np.uint8], quality: int = 95, subsampling: str = "4:4:4") -> bytes:
    """Encode uint8 (H, W, 3) as baseline JPEG.

    Args:
        image: RGB.
        quality: Of the quantisation tables, 1 to 100, as libjpeg counts.
        subsampling: Resolution of the colour: "4:4:4", "4:2:2" or "4:2:0".

    Raises:
        DataError: A side is longer than 65500 pixels, the limit of libjpeg.
    """
    if max(image.shape) > _JPEG_MAX_SIDE:
        raise DataError(
            f"expected sides of at most {_JPEG_MAX_SIDE} pixels for a JPEG, found {image.shape[0]} x {image.shape[1]} "
            "(height x width)"
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()
