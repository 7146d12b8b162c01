"""Decode images for training: JPEG by torchvision's libjpeg-turbo, in half the time of Pillow.

Of a sound file the pixels are the same.

LightlyTrain decodes so too (`lightly_train._data.file_helpers`, 0.18). `sharding.codecs.image` decides alone what is an
image and what is refused; it also decodes what is no plain JPEG.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharding.codecs.image import decode_image, open_image

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH = 24  # its offset: signature, length and name of the header, width, height
_START = b"\xff\xd8\xff"
_MODES = ("RGB", "L")  # Pillow's names; what others become differs


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file as `sharding.codecs.image.decode_image` does: uint8 (H, W, 3), RGB.

    Raises:
        DataError: It is no image, damaged, or too large.
    """
    if not data.startswith(_START):
        return decode_image(data)
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


def decode_as_lightly_train(data: bytes) -> NDArray[Any]:
    """Decode as `decode_rgb` does, to uint8 (H, W, 3), but PNGs of 16 bits to float32 in 0..1, as LightlyTrain does.

    (It takes 16-bit TIFFs for white, by a conversion that cuts off at 255: here they are rounded to 8 bits.)

    Raises:
        DataError: It is no image, damaged, or too large.
    """
    if not data.startswith(_PNG) or data[_PNG_BIT_DEPTH : _PNG_BIT_DEPTH + 1] != b"\x10":
        return decode_rgb(data)
    with open_image(data) as image:  # refuses what is too large
        image.load()  # and what is damaged, some of which torchvision reads
    try:
        levels = _decoder()(torch.frombuffer(bytearray(data), dtype=torch.uint8))  # uint16 (3, H, W)
    except RuntimeError:
        return decode_image(data)
    from torchvision.transforms.v2.functional import to_dtype

    scaled: NDArray[np.float32] = to_dtype(levels, torch.float32, scale=True).permute(1, 2, 0).numpy()
    return scaled


@cache
def _decoder() -> Callable[[Tensor], Tensor]:
    """Return torchvision's decoder; its import takes 1.4 s, which sets without JPEG need not wait for."""
    from torchvision.io import ImageReadMode, decode_image

    return partial(decode_image, mode=ImageReadMode.RGB)
