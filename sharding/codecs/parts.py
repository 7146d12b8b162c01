"""The extensions that the parts of a sample may have, and the decoders of depth and valid.

    part    extension    payload
    image   rows.npy     differences of rows                 `rows`
            ppm          plain pixels                        `ppm`
            jpg, png...  an image file                       `image`
    depth   planes.npy   byte planes of float32              `planes`
            log16.npy    byte planes of 16-bit log depth     `log16_planes`
            npy          float32 array                       `npy`
            log16.png    16-bit log depth                    `log16`
    valid   pbm          one bit per pixel                   `pbm`
            npy          bool array                          `npy`
            png          one bit per pixel                   `image`

docs/format.md tells which of them sets are made with; the others are read, from sets made earlier or elsewhere.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.image import open_image
from sharding.codecs.image_header import STORED_FORMATS
from sharding.codecs.log16 import decode_log16
from sharding.codecs.log16_planes import decode_log16_planes
from sharding.codecs.npy import NPY_MAGIC, decode_npy, load_npy
from sharding.codecs.pbm import decode_pbm
from sharding.codecs.planes import decode_planes
from sharding.errors import DataError

IMAGE_EXTS = (*sorted(set(STORED_FORMATS.values())), "jpeg", "ppm", "webp", "bmp", "rows.npy")
"""Extensions of the image part; its decoder looks at the bytes, not at the extension."""

DEPTH_DECODERS: dict[str, Callable[[bytes | memoryview], NDArray[np.float32]]] = {
    "planes.npy": decode_planes,
    "npy": decode_npy,
    "log16.png": decode_log16,
    "log16.npy": decode_log16_planes,
}
"""Decoders of the depth part, by extension."""

VALID_EXTS = ("npy", "png", "pbm")
"""Extensions of the valid part."""

KNOWN_EXTS: dict[str, frozenset[str]] = {
    "image": frozenset(IMAGE_EXTS),
    "depth": frozenset(DEPTH_DECODERS),
    "valid": frozenset(VALID_EXTS),
    "meta": frozenset({"json"}),
}
"""All extensions by part, in lower case; no other is ever decoded."""


def decode_depth(data: bytes | memoryview, ext: str) -> NDArray[np.float32]:
    """Decode a depth part to float32 (H, W).

    Raises:
        DataError: No decoder for `ext`, or the data fail to decode.
    """
    if ext not in DEPTH_DECODERS:
        raise DataError(f"depth part .{ext}: expected one of {', '.join(DEPTH_DECODERS)}")
    return DEPTH_DECODERS[ext](data)


def decode_valid(data: bytes | memoryview) -> NDArray[np.bool_]:
    """Decode a valid part: bool (H, W), True where a PBM or PNG is white, or a `.npy` file True or above 0.5.

    Raises:
        DataError: It fails to decode.
    """
    if data[: len(NPY_MAGIC)] == NPY_MAGIC:
        numbers = load_npy(data)
        return _to_bool(numbers) if numbers.dtype == np.bool_ else np.asarray(numbers > 0.5)
    if (mask := decode_pbm(data)) is not None:
        return mask
    with open_image(bytes(data), "a PBM, PNG or .npy of valid pixels") as image:
        return _to_bool(np.asarray(image.convert("1"), dtype=np.bool_))


def _to_bool(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # A bool read from a file may be any byte, but numpy computes with 0 and 1 alone.
    return np.asarray(mask.view(np.uint8) != 0)
