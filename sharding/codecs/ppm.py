"""Images as plain pixels: binary PPM (P6), https://netpbm.sourceforge.net/doc/ppm.html.

Any image library reads PPM, and decoding costs nothing: the pixels are in the file as they are in memory. The zstd
frame of the member compresses them.
"""

import re

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import check_pixels
from sharding.errors import DataError

_HEADER = re.compile(rb"P6\n([1-9]\d{0,9}) ([1-9]\d{0,9})\n255\n")


def encode_ppm(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) RGB as a PPM file: bit-exact."""
    height, width, _ = image.shape
    return b"".join((b"P6\n%d %d\n255\n" % (width, height), np.ascontiguousarray(image).data))


def view_ppm(data: bytes | memoryview) -> NDArray[np.uint8] | None:
    """Return the pixels of a PPM file as a read-only view of `data`, without a copy.

    Returns:
        uint8 (H, W, 3) RGB; None if the header has another form than `encode_ppm` writes (comments, other white space,
        16 bits) or it is no PPM file: `sharding.codecs.image.decode_image` then decodes it with Pillow.

    Raises:
        DataError: It is truncated, has bytes after its pixels, or is larger than `MAX_PIXELS`.
    """
    header = _HEADER.match(data)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    try:
        check_pixels((width, height))
    except ValueError as error:
        raise DataError(f"expected a readable image, found {error}") from error
    expected, found = 3 * width * height, len(data) - header.end()
    if found != expected:
        raise DataError(f"expected {expected} bytes of {width} x {height} pixels in a PPM file, found {found}")
    return np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, width, 3)
