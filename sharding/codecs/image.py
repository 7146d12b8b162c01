"""Encoding and decoding of the parts of a sample.

Image: `ppm`, plain pixels; `jpg`, `png`, ...: an image file as it is. Depth, by the extension of its member:
`planes.npy`, byte planes; `npy`, a float32 array; `log16.png`, 16-bit log depth. Valid: `npy`, a bool array; `png`, one
bit a pixel. Sets are made with the first of each; the others are read, from sets made earlier or elsewhere.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from sharding.codecs.limits import check_pixels
from sharding.codecs.npy import NPY_MAGIC, decode_npy, load_npy
from sharding.codecs.planes import decode_planes
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

LOG16_CODES = 65534
"""Steps between code 1 (near) and code 65535 (far); 0 is invalid."""


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


def encode_log16(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> bytes:
    """Encode valid depth as a 16-bit PNG of log depth; pixels that are not valid, or not above 0, get code 0.

    Code c in 1..65535 means `near * (far / near) ** ((c - 1) / 65534)`; `near` and `far`, the least and largest valid
    depth, stand in PNG text chunks. The relative error is at most `log16_error(near, far)`: 5.5e-5 from 0.3 to 400 m.
    """
    valid = valid & (depth > 0)  # 0 has no logarithm
    near, far = (float(depth[valid].min()), float(depth[valid].max())) if valid.any() else (1.0, 1.0)
    span = math.log(far / near) or 1.0
    steps = np.log(np.where(valid, depth, near).astype(np.float64) / near) / span * LOG16_CODES
    codes = np.where(valid, np.rint(steps) + 1, 0).astype(np.uint16)
    text = PngImagePlugin.PngInfo()
    text.add_text("near", repr(near))
    text.add_text("far", repr(far))
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def decode_log16(data: bytes) -> NDArray[np.float32]:
    """Decode what `encode_log16` wrote: float32 (H, W), 0 where invalid.

    Raises:
        DataError: It is no such file.
    """
    with open_image(data, "a 16-bit PNG of log depth with near and far") as image:
        near, far = float(image.info["near"]), float(image.info["far"])
        codes = np.asarray(image).astype(np.uint16)
        if not 0 < near <= far < math.inf or codes.ndim != 2:
            raise ValueError(f"near {near}, far {far}, mode {image.mode}")
    depth_of_code = near * np.exp((np.arange(65536.0) - 1) / LOG16_CODES * (math.log(far / near) or 1.0))
    depth_of_code[0] = 0
    return depth_of_code.astype(np.float32)[codes]


def log16_error(near: float, far: float) -> float:
    """Largest relative error of the log code between `near` and `far`: half a step, and float32's rounding."""
    return math.expm1(math.log(far / near) / LOG16_CODES / 2) + 2**-23


def decode_valid(data: bytes) -> NDArray[np.bool_]:
    """Decode a valid part, a `.npy` file or a PNG: bool (H, W), True where the `.npy` is True or above 0.5.

    Raises:
        DataError: It is no such file.
    """
    if data[: len(NPY_MAGIC)] == NPY_MAGIC:
        mask = load_npy(data)
        # A bool of a file may be any byte.
        return np.asarray(mask.view(np.uint8) != 0 if mask.dtype == np.bool_ else mask > 0.5)
    with open_image(data, "a PNG or .npy of valid pixels") as image:
        return np.asarray(image.convert("1"), dtype=np.bool_)


DEPTH_DECODERS: dict[str, Callable[[bytes], NDArray[np.float32]]] = {
    "planes.npy": decode_planes,
    "npy": decode_npy,
    "log16.png": decode_log16,
}
"""Decoders of the depth part, by extension."""

VALID_EXTS = ("npy", "png")
"""Extensions of the valid part."""


def decode_depth(data: bytes, ext: str) -> NDArray[np.float32]:
    """Decode a depth part to float32 (H, W).

    Raises:
        DataError: No decoder for `ext`, or the data fail to decode.
    """
    if ext not in DEPTH_DECODERS:
        raise DataError(f"depth part .{ext}: expected one of {', '.join(DEPTH_DECODERS)}")
    return DEPTH_DECODERS[ext](data)
