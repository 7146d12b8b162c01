"""Images as plain pixels: binary PPM (P6), the simplest image format there is, left to the zstd frame to compress.

Any image library reads it, and decoding it is no work: the pixels stand in the file as they stand in memory. See
https://netpbm.sourceforge.net/doc/ppm.html for the format.
"""

import re

import numpy as np
from numpy.typing import NDArray

from sharding.codecs import MAX_PIXELS, decode_image
from sharding.errors import DataError

_HEADER = re.compile(rb"P6\n([1-9]\d{0,9}) ([1-9]\d{0,9})\n255\n")


def encode_ppm(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) RGB as a PPM file: bit-exact."""
    height, width, _ = image.shape
    return b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(image).tobytes()


def decode_ppm(data: bytes) -> NDArray[np.uint8]:
    """Decode a PPM file to uint8 (H, W, 3) RGB, read-only: the pixels are those of `data`, not a copy.

    A header of another form than `encode_ppm` writes (comments, other white space, 16 bits) goes the long way, through
    `decode_image`.

    Raises:
        DataError: It is no image, truncated, larger than `MAX_PIXELS`, or goes on after its pixels.
    """
    header = _HEADER.match(data)
    if header is None:
        return decode_image(data)
    width, height = int(header[1]), int(header[2])
    if width * height > MAX_PIXELS:
        raise DataError(f"expected a readable image, found {width} x {height} pixels; at most {MAX_PIXELS} are decoded")
    expected, found = 3 * width * height, len(data) - header.end()
    if found != expected:
        raise DataError(f"expected {expected} bytes of {width} x {height} pixels in a PPM file, found {found}")
    return np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, width, 3)
