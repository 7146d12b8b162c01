"""Valid masks as bits: binary PBM (P4), https://netpbm.sourceforge.net/doc/pbm.html.

Any image library reads PBM, and its header has the width, which the bytes of packed rows do not tell. A valid pixel is
white, as it is in a 1-bit PNG: in PBM white is 0.
"""

import re

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import refuse_pixels
from sharding.errors import DataError

_HEADER = re.compile(rb"P4\n([1-9]\d{0,9}) ([1-9]\d{0,9})\n")


def encode_pbm(valid: NDArray[np.bool_]) -> bytes:
    """Encode bool (H, W) as a PBM file, white where True: exact."""
    height, width = valid.shape
    return b"P4\n%d %d\n" % (width, height) + np.packbits(~valid, axis=1).tobytes()


def decode_pbm(data: bytes | memoryview) -> NDArray[np.bool_] | None:
    """Decode a PBM file: bool (H, W), True where it is white.

    Returns:
        The mask; None if the header has another form than `encode_pbm` writes, or it is no PBM file: Pillow reads it.

    Raises:
        DataError: It is truncated, has bytes after its pixels, or is larger than `MAX_PIXELS`.
    """
    header = _HEADER.match(data)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    refuse_pixels((height, width))
    row_bytes = -(-width // 8)  # rounded up: each row begins in a byte of its own
    expected, found = height * row_bytes, len(data) - header.end()
    if found != expected:
        raise DataError(f"expected {expected} bytes of {width} x {height} pixels in a PBM file, found {found}")
    black = np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, row_bytes)
    return np.unpackbits(~black, axis=1, count=width).view(np.bool_)
