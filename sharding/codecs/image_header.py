"""Image files of a source: what one is, and whether it is whole, told without decoding its pixels."""

import re
from dataclasses import dataclass

from sharding.codecs.image import open_image
from sharding.errors import DataError

STORED_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""Image formats that a source may have, and the extension such a file gets when it is stored as it is."""

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""A JPEG marker that is no stuffed byte, no fill byte, and none of those that stand alone within coded pixels."""
_END = 0xD9


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an image file says of itself.

    Attributes:
        ext: "jpg" or "png".
        height, width: In pixels.
        plain: Whether three bytes a pixel hold all of the image: a PNG of 8-bit RGB without transparency.
    """

    ext: str
    height: int
    width: int
    plain: bool


def read_header(data: bytes) -> Header:
    """Read the header of an image file, whatever its name is; of a JPEG, look for its end as well.

    Raises:
        DataError: It is neither JPEG nor PNG, larger than `MAX_PIXELS`, or a JPEG that ends too early.
    """
    with open_image(data) as image:
        if image.format not in STORED_FORMATS:
            raise DataError(f"expected a JPEG or PNG, found {image.format}")
        ext = STORED_FORMATS[image.format]
        # Bit depth and colour type stand in the first chunk; Pillow calls 16 bits RGB as well.
        plain = ext == "png" and data[12:16] + data[24:26] == b"IHDR\x08\x02" and "transparency" not in image.info
        header = Header(ext=ext, height=image.height, width=image.width, plain=plain)
    if ext == "jpg" and find_jpeg_end(data) is None:
        raise DataError(f"expected a JPEG with an end marker, found {len(data)} bytes without one: it is truncated")
    return header


def find_jpeg_end(data: bytes) -> int | None:
    """Where the first image of a JPEG file ends; None if it does not.

    Goes from marker to marker (ITU-T T.81, annex B) and jumps over segments: they may hold a thumbnail, with an end
    marker of its own. What cameras append after the end (padding, a second image, a film) does not matter.

    Args:
        data: The file, from its start marker on.
    """
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        at = found.end()
        if data[at - 1] == _END:
            return at
        at += int.from_bytes(data[at : at + 2])  # of the segment, these two bytes included
    return None
