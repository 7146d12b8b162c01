"""How the parts of a sample are decoded: a reader takes other functions, which are faster or hand over other arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.image import decode_image
from sharding.codecs.parts import decode_depth, decode_valid
from sharding.format.sample import valid_pixels
from sharding.stores.store import Buffer

Depth = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Depth, float32 (H, W), any value where it is not valid; and where it is valid, bool (H, W)."""


def decode_depth_and_valid(depth: Buffer, ext: str, valid: Buffer | None) -> Depth:
    """Decode a depth part, and decide which of its pixels are valid.

    Args:
        depth: The depth part.
        ext: Its extension.
        valid: The valid part; a set made elsewhere may have none, or one that follows other rules.

    Raises:
        DataError: No decoder for `ext`, the data fail to decode, or the sizes differ.
    """
    decoded = decode_depth(depth, ext)
    return decoded, valid_pixels(decoded, None if valid is None else decode_valid(valid))


@dataclass(frozen=True, slots=True)
class Decoders:
    """The decoders of a reader; picklable.

    Attributes:
        image: From an image part to uint8 (H, W, 3), RGB.
        depth: See `decode_depth_and_valid`.
    """

    image: Callable[[Buffer], NDArray[Any]] = decode_image
    depth: Callable[[Buffer, str, Buffer | None], Depth] = decode_depth_and_valid
