"""Decode for training: JPEG by torchvision's libjpeg-turbo, in half the time of Pillow, and byte planes by OpenCV.

Of a sound file the pixels are the same. Depth is 0 where it is not valid, which views want.

LightlyTrain decodes so too (`lightly_train._data.file_helpers`, 0.18). `sharding.codecs.image` decides alone what is an
image and what is refused; it also decodes what is no plain JPEG.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharding.codecs.image import decode_image, open_image
from sharding.codecs.log16_planes import view_log16_planes
from sharding.codecs.parts import decode_depth, decode_valid
from sharding.codecs.planes import view_planes
from sharding.format.sample import check_shape, valid_pixels
from sharding.reading.decoders import Depth, decode_depth_and_valid
from sharding.stores.store import Buffer

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH = 24  # its offset: signature, length and name of the header, width, height
_START = b"\xff\xd8\xff"
_INFINITY = 0x7F800000  # of float32, as bits
_MODES = ("RGB", "L")  # Pillow's names; what others become differs


def decode_rgb(data: bytes | memoryview) -> NDArray[np.uint8]:
    """Decode an image file as `sharding.codecs.image.decode_image` does: uint8 (H, W, 3), RGB.

    Raises:
        DataError: It is no image, damaged, or too large.
    """
    if data[: len(_START)] != _START:
        return decode_image(data)
    data = bytes(data)
    with open_image(data) as image:  # reads the header, and refuses what is too large
        plain = image.mode in _MODES
    try:
        # A copy, of what is a tenth of the pixels: torch wants a buffer that may be written to.
        pixels = _decoder()(torch.frombuffer(bytearray(data), dtype=torch.uint8)) if plain else None
    except RuntimeError:  # damaged or unusual: Pillow tells what, or reads it
        pixels = None
    if pixels is None:
        return decode_image(data)
    decoded: NDArray[np.uint8] = pixels.permute(1, 2, 0).numpy()  # no copy: decoded as (H, W, 3)
    return decoded


def decode_as_lightly_train(data: bytes | memoryview) -> NDArray[Any]:
    """Decode as `decode_rgb` does, to uint8 (H, W, 3), but PNGs of 16 bits to float32 in 0..1, as LightlyTrain does.

    (It takes 16-bit TIFFs for white, by a conversion that cuts off at 255: here they are rounded to 8 bits.)

    Raises:
        DataError: It is no image, damaged, or too large.
    """
    if data[: len(_PNG)] != _PNG or data[_PNG_BIT_DEPTH : _PNG_BIT_DEPTH + 1] != b"\x10":
        return decode_rgb(data)
    data = bytes(data)
    with open_image(data) as image:  # refuses what is too large
        image.load()  # and what is damaged, some of which torchvision reads
    try:
        levels = _decoder()(torch.frombuffer(bytearray(data), dtype=torch.uint8))  # uint16 (3, H, W)
    except RuntimeError:
        return decode_image(data)
    from torchvision.transforms.v2.functional import to_dtype

    scaled: NDArray[np.float32] = to_dtype(levels, torch.float32, scale=True).permute(1, 2, 0).numpy()
    return scaled


def decode_known(depth: Buffer, ext: str, valid: Buffer | None) -> Depth:
    """Decode depth as `sharding.reading.decoders.decode_depth_and_valid` does, but 0 where it is not valid.

    Raises:
        DataError: As there.
    """
    if ext == "log16.npy":
        return _decode_codes(depth, valid)
    if ext not in _MASKED or valid is None:
        decoded, known = decode_depth_and_valid(depth, ext, valid)
        return np.where(known, decoded, np.float32(0)), known
    known_depth = _MASKED[ext](depth, decode_valid(valid))
    # The bits of what is no distance are larger than those of all distances: NaN, infinity, and whatever has a sign.
    if known_depth.view(np.uint32).max(initial=0) >= _INFINITY:
        known_depth[~((known_depth > 0) & (known_depth < np.inf))] = 0
    return known_depth, known_depth > 0


def _mask_planes(depth: Buffer, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Decode byte planes, and put 0 where the mask is False."""
    planes = view_planes(depth)
    check_shape("depth", planes.shape[1:], "valid", mask.shape)
    # Bytes are multiplied with 0 or 1 and joined: a quarter of the time of doing so with floats.
    joined = cv2.merge(list(np.multiply(planes, mask.view(np.uint8))))  # uint8 (H, W, 4)
    masked: NDArray[np.float32] = joined.view("<f4")[..., 0].astype(np.float32, copy=False)
    return masked


def _mask_values(depth: Buffer, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Decode plain values, and put 0 where the mask is False."""
    values = decode_depth(depth, "npy")
    check_shape("depth", values.shape, "valid", mask.shape)
    return np.asarray(cv2.copyTo(values, mask.view(np.uint8)), dtype=np.float32)


_MASKED: dict[str, Callable[[Buffer, NDArray[np.bool_]], NDArray[np.float32]]] = {
    "planes.npy": _mask_planes,
    "npy": _mask_values,
}
"""Decoders of depth that a mask follows, by extension."""


def _decode_codes(depth: Buffer, valid: Buffer | None) -> Depth:
    """Decode 16-bit codes, which say where depth is valid; the mask of a set made elsewhere may take some away."""
    coded = view_log16_planes(depth)
    codes = coded.check(cv2.merge(list(coded.planes)).view("<u2")[..., 0])  # (2, H, W) -> (H, W, 2) -> (H, W)
    if valid is not None:
        mask = decode_valid(valid)
        check_shape("depth", codes.shape, "valid", mask.shape)
        codes = np.multiply(codes, mask, dtype=np.uint16)
    decoded = np.asarray(cv2.LUT(codes, coded.table()[None]), np.float32)  # a third of the time of numpy's lookup
    return decoded, decoded > 0


def decode_stored(depth: Buffer, ext: str, valid: Buffer | None) -> Depth:
    """Decode depth, and take all that is above 0 and finite for valid, whatever the mask says; other depth is 0.

    Raises:
        DataError: The data fail to decode.
    """
    decoded, _ = decode_depth_and_valid(depth, ext, valid)
    known = valid_pixels(decoded)
    return np.where(known, decoded, np.float32(0)), known


@cache
def _decoder() -> Callable[[Tensor], Tensor]:
    """Return torchvision's decoder; its import takes 1.4 s, which sets without JPEG need not wait for."""
    from torchvision.io import ImageReadMode, decode_image

    return partial(decode_image, mode=ImageReadMode.RGB)
