"""Encoding and decoding of the parts of a sample, by the extension of their member.

`jpg`, `png`, ...: an image file as it is. `npy`: a float32 array, bit-exact. `log16.png`: 16-bit log depth.
`png` of a valid part: one bit a pixel.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin

from sharding.errors import DataError

MAX_PIXELS = 200_000_000
"""An image of more pixels is refused before it is decoded."""

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
        with Image.open(io.BytesIO(data)) as image:
            check_pixels(image.size)
            yield image
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        raise DataError(f"expected {expected}, found {len(data)} bytes that fail to decode: {error!r}") from error


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file of any format and mode to uint8 (H, W, 3) RGB; EXIF rotation is not applied.

    Raises:
        DataError: It is no image, truncated, or larger than `MAX_PIXELS`.
    """
    with open_image(data) as image:
        return np.asarray(to_rgb(image), dtype=np.uint8)


def check_pixels(size: tuple[int, int]) -> None:
    """Refuse an image that is too large to be one of ours.

    Raises:
        ValueError: It has more than `MAX_PIXELS` pixels.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are decoded")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit grey is scaled to 8 bits, transparency is dropped."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) as JPEG, quality 95, colour at full resolution (4:4:4)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def encode_npy(array: NDArray[np.float32]) -> bytes:
    """Encode an array as a `.npy` file: bit-exact."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def load_npy(data: bytes) -> NDArray[Any]:
    """Load a `.npy` file of a map as it is stored: (H, W). A trailing axis of one, as DIODE's depth has, is dropped.

    Raises:
        DataError: It is no such file.
    """
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"expected a .npy file, found {len(data)} bytes that fail to decode: {error}") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise DataError(f"expected a map of numbers (H, W) or (H, W, 1), found {array.dtype} {array.shape}")
    return array


def decode_npy(data: bytes) -> NDArray[np.float32]:
    """Decode a `.npy` depth part: float32 (H, W).

    Raises:
        DataError: It is no such file.
    """
    return load_npy(data).astype(np.float32, copy=False)


def encode_log16(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> bytes:
    """Encode valid depth as a 16-bit PNG of log depth; invalid pixels get code 0.

    Code c in 1..65535 means `near * (far / near) ** ((c - 1) / 65534)`; `near` and `far`, the least and largest valid
    depth, stand in PNG text chunks. The relative error is at most `log16_error(near, far)`: 5.5e-5 from 0.3 to 400 m.
    """
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
    depth_of_code = near * np.exp((np.arange(65536.0) - 1) / LOG16_CODES * (math.log(far / near) or 1.0))
    depth_of_code[0] = 0
    return depth_of_code.astype(np.float32)[codes]


def log16_error(near: float, far: float) -> float:
    """Largest relative error of the log code between `near` and `far`: half a step, and float32's rounding."""
    return math.expm1(math.log(far / near) / LOG16_CODES / 2) + 2**-23


def encode_valid(valid: NDArray[np.bool_]) -> bytes:
    """Encode bool (H, W) as a PNG of one bit a pixel."""
    buffer = io.BytesIO()
    Image.fromarray(valid).save(buffer, "PNG")
    return buffer.getvalue()


def decode_valid(data: bytes) -> NDArray[np.bool_]:
    """Decode what `encode_valid` wrote.

    Raises:
        DataError: It is no such file.
    """
    with open_image(data, "a PNG of valid pixels") as image:
        return np.asarray(image.convert("1"), dtype=np.bool_)


DEPTH_DECODERS: dict[str, Callable[[bytes], NDArray[np.float32]]] = {"npy": decode_npy, "log16.png": decode_log16}
"""Decoders of the depth part, by extension."""


def decode_depth(data: bytes, ext: str) -> NDArray[np.float32]:
    """Decode a depth part to float32 (H, W).

    Raises:
        DataError: No decoder for `ext`, or the data fail to decode.
    """
    if ext not in DEPTH_DECODERS:
        raise DataError(f"depth part .{ext}: expected one of {', '.join(DEPTH_DECODERS)}")
    return DEPTH_DECODERS[ext](data)
