"""Headers of image files: format and size, and whether a JPEG is truncated, without decoding pixels."""

import re
from dataclasses import dataclass

from sharding.codecs.image import open_image
from sharding.errors import DataError

STORED_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""Pillow's image formats that a source may have, and the extension of a file that is stored unchanged."""

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""A JPEG marker that a segment follows, or the end marker (ITU-T T.81, table B.1).

Not the stuffed byte FF00, the fill byte FFFF, and the markers without a segment: TEM (01), RST0-7 (D0-D7), SOI (D8).
"""

_END = 0xD9  # EOI, end of image


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of an image file.

    Attributes:
        ext: "jpg" or "png".
        height, width: Size in pixels.
        plain: Whether three bytes per pixel hold the whole image: a PNG of 8-bit RGB without transparency.
    """

    ext: str
    height: int
    width: int
    plain: bool


def read_header(data: bytes) -> Header:
    """Read the header of an image file by its bytes, not its name; check also that a JPEG has its end marker.

    Raises:
        DataError: It is neither JPEG nor PNG, larger than `MAX_PIXELS`, or a JPEG that ends too early.
    """
    with open_image(data) as image:
        if image.format not in STORED_FORMATS:
            raise DataError(f"expected a JPEG or PNG, found {image.format}")
        ext = STORED_FORMATS[image.format]
        # PNG: signature (8 bytes), then the IHDR chunk: length (4), "IHDR" at 12, width and height (4 each) at 16, bit
        # depth at 24 (8), colour type at 25 (2 is RGB). Pillow's mode alone is not enough: 16-bit RGB is "RGB", too.
        plain = ext == "png" and data[12:16] + data[24:26] == b"IHDR\x08\x02" and "transparency" not in image.info
        header = Header(ext=ext, height=image.height, width=image.width, plain=plain)
    if ext == "jpg" and find_jpeg_end(data) is None:
        raise DataError(f"expected a JPEG with an end marker, found {len(data)} bytes without one: it is truncated")
    return header


def find_jpeg_end(data: bytes) -> int | None:
    """Find where the first image of a JPEG file ends.

    Goes from marker to marker (ITU-T T.81, annex B) and jumps over segments, because they may hold a thumbnail with an
    end marker of its own. Anything that cameras append after the end (padding, a second image, a film) is ignored.

    Args:
        data: The file, from its start marker on.

    Returns:
        Offset of the first byte after the end marker; None if there is no end marker.
    """
    at = 2  # after the start marker FFD8
    while (found := _MARKER.search(data, at)) is not None:
        at = found.end()
        if data[at - 1] == _END:
            return at
        at += int.from_bytes(data[at : at + 2])  # length of the segment, big-endian, these two bytes included
    return None
