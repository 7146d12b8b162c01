"""The encodings that `profile_codecs.py` measures, by this project's code, Pillow or imagecodecs.

Those that are not in `sharding` were tried and rejected. imagecodecs is imported only when a candidate needs it.
"""

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.codecs.image import decode_image
from sharding.codecs.log16 import decode_log16, encode_log16
from sharding.codecs.log16_planes import decode_log16_planes, encode_log16_planes
from sharding.codecs.npy import decode_npy, encode_npy
from sharding.codecs.parts import decode_valid
from sharding.codecs.pbm import encode_pbm
from sharding.codecs.planes import MAX_ROUNDING, decode_planes, encode_planes, round_depth
from sharding.codecs.ppm import encode_ppm
from sharding.codecs.rows import encode_rows

Depth: TypeAlias = NDArray[np.float32]
Valid: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Codec:
    """A candidate encoding.

    Attributes:
        name: As in the tables.
        encode: Called with (image) or with (depth, valid).
        decode: Returns the array from the bytes of `encode`: the image, the depth, or the valid mask.
        member: Name of a member with it, whose end decides the zstd level.
    """

    name: str
    encode: Callable[..., bytes]
    decode: Callable[[bytes], NDArray[Any]]
    member: str = "member"


def foreign(function: str, **settings: Any) -> Callable[[Any], Any]:
    """Return a function of imagecodecs with its settings; the library is imported when the function is called."""
    return lambda data: getattr(importlib.import_module("imagecodecs"), function)(data, **settings)


def pillow(kind: str, **settings: Any) -> Callable[[NDArray[Any]], bytes]:
    """Return an encoder by Pillow."""

    def encode(image: NDArray[Any]) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind, **settings)
        return buffer.getvalue()

    return encode


def encode_green(image: NDArray[np.uint8]) -> bytes:
    """Encode green, red - green and blue - green, each minus the row above, as a .npy of uint8 (H, 3, W)."""
    # Differences wrap modulo 256, and so do the sums of the decoder: exact.
    planes = image[:, :, [1, 0, 2]].transpose(0, 2, 1).copy()  # (H, 3, W): green, red, blue
    planes[:, 1:] -= planes[:, :1]  # red - green, blue - green
    planes[1:] -= planes[:-1].copy()
    return encode_npy(planes)


def decode_green(data: bytes) -> NDArray[np.uint8]:
    """Decode the image of `encode_green`; rows are added up one by one, which is faster than numpy's accumulate."""
    planes = np.lib.format.read_array(io.BytesIO(data))
    for above, row in pairwise(planes):
        np.add(above, row, out=row)
    image = np.empty((planes.shape[0], planes.shape[2], 3), np.uint8)
    image[..., 1] = planes[:, 0]
    np.add(planes[:, 1], planes[:, 0], out=image[..., 0])
    np.add(planes[:, 2], planes[:, 0], out=image[..., 2])
    return image


def encode_differences(depth: Depth, valid: Valid) -> bytes:
    """Encode the bits of rounded depth minus those of the row above, in zigzag coding, as byte planes."""
    # Rounding clears the 10 lowest bits, so 22 are left, whose differences fit into int32. Zigzag coding moves the sign
    # to the lowest bit: 0, -1, 1, -2 become 0, 1, 2, 3, whose upper bytes are mostly 0.
    bits = (round_depth(depth, valid).view(np.uint32) >> np.uint32(10)).astype(np.int32)
    bits[1:] -= bits[:-1].copy()
    # `>> 31` of an int32 keeps the sign: -1, all ones, for a negative difference, else 0.
    return encode_planes(((bits << 1) ^ (bits >> 31)).view(np.float32))


def decode_differences(data: bytes) -> Depth:
    """Decode the depth of `encode_differences`."""
    folded = decode_planes(data).view(np.uint32)
    # Unfold the sign: XOR with all ones (-1 as uint32) where the lowest bit is 1. Sums wrap modulo 2**32.
    bits = (folded >> np.uint32(1)) ^ -(folded & np.uint32(1))
    # In place, from the top: each row is decoded when it becomes the row above.
    for above, row in pairwise(bits):
        np.add(above, row, out=row)
    return (bits << np.uint32(10)).view(np.float32)


def encode_lerc_log(depth: Depth, valid: Valid) -> bytes:
    """Encode the logarithm of depth by LERC, which bounds absolute errors: those of the logarithm are relative ones.

    Invalid pixels are stored as 0.
    """
    logarithm = np.log(np.where(valid, depth, np.float32(1)))
    return bytes(foreign("lerc_encode", level=0.95 * MAX_ROUNDING)(logarithm))


def of_depth(encode: Callable[[Depth], bytes], rounded: bool = False) -> Callable[[Depth, Valid], bytes]:
    """Return an encoder of (depth, valid) that stores no valid mask, from one of the depth as it is or rounded."""
    return lambda depth, valid: encode(round_depth(depth, valid) if rounded else depth)


IMAGE_CODECS = (
    Codec("PNG", pillow("PNG"), decode_image),
    Codec("PNG, stored", pillow("PNG", compress_level=0), decode_image),
    Codec("QOI", foreign("qoi_encode"), foreign("qoi_decode")),
    Codec("PPM", encode_ppm, decode_image),
    Codec("rows", encode_rows, decode_image, "member.rows.npy"),
    Codec("rows of red - green", encode_green, decode_green),
    Codec("WebP lossless", pillow("WEBP", lossless=True, quality=0, method=0), decode_image),
    Codec("JXL lossless e1", foreign("jpegxl_encode", lossless=True, effort=1), foreign("jpegxl_decode")),
    Codec("JXL lossless e3", foreign("jpegxl_encode", lossless=True, effort=3), foreign("jpegxl_decode")),
    *(Codec(f"JPEG q{q}", pillow("JPEG", quality=q, subsampling=0), decode_image) for q in (90, 95, 98)),
    Codec("JPEG q90 4:2:0", pillow("JPEG", quality=90, subsampling=2), decode_image),
)
"""All are compared with the first one."""

DEPTH_CODECS = (
    Codec("npy", of_depth(encode_npy), decode_npy),
    Codec("byte planes", of_depth(encode_planes), decode_planes),
    Codec("LERC lossless", of_depth(foreign("lerc_encode", level=0)), foreign("lerc_decode")),
    Codec("rounded npy", of_depth(encode_npy, rounded=True), decode_npy),
    Codec("rounded planes", of_depth(encode_planes, rounded=True), decode_planes),
    Codec("rounded differences", encode_differences, decode_differences),
    Codec("log16 PNG", encode_log16, decode_log16),
    Codec("log16 planes", encode_log16_planes, decode_log16_planes, "member.depth.log16.npy"),
    Codec("LERC of log", encode_lerc_log, lambda data: np.exp(foreign("lerc_decode")(data))),
    Codec("float16", of_depth(lambda depth: encode_npy(depth.astype(np.float16))), decode_npy),
)
VALID_CODECS = (
    Codec("mask npy", lambda depth, valid: encode_npy(valid.astype(np.float32)), lambda data: decode_npy(data) > 0.5),
    Codec("1-bit PNG", lambda depth, valid: pillow("PNG")(valid), decode_valid),
    Codec("bool npy", lambda depth, valid: encode_npy(valid), decode_valid),
    Codec("PBM", lambda depth, valid: encode_pbm(valid), decode_valid),
)
