"""The header of a JPEG file, read without decoding: ITU-T T.81, annex B."""

from dataclasses import dataclass

from sharding.codecs.pieces import check_pieces

_MAX_SEGMENTS = 1000
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header (SOF); the three others define tables."""

_SCAN, _END = 0xDA, 0xD9


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegHeader:
    """What a frame header says.

    Attributes:
        height, width: In pixels.
        components: 1 for grey, 3 for colour.
    """

    height: int
    width: int
    components: int


def read_header(data: bytes) -> JpegHeader | None:
    """Read the frame header of a plain JPEG of 8 bits, grey or colour; None of any other or a damaged file.

    Files of more pieces than decoders should go through are None as well (`sharding.codecs.pieces`).
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4])
        if data[at : at + 1] != b"\xff" or not marker or length < 2 or marker[0] in (_SCAN, _END):
            return None
        if marker[0] in _FRAMES:
            return _read_frame(data, at + 4)
        at += 2 + length
    return None


def _read_frame(data: bytes, at: int) -> JpegHeader | None:
    """Read precision (1 byte), height (2), width (2) and the number of components (1)."""
    if len(data) < at + 6 or data[at] != 8 or data[at + 5] not in (1, 3):
        return None
    height, width = int.from_bytes(data[at + 1 : at + 3]), int.from_bytes(data[at + 3 : at + 5])
    try:
        check_pieces(data)
    except ValueError:
        return None
    return JpegHeader(height=height, width=width, components=data[at + 5]) if height and width else None
