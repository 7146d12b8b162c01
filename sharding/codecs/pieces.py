"""Refuse image files of so many pieces that Pillow, which goes through them in Python, takes minutes for them."""

import numpy as np

_MOST = 1 << 17
"""Chunks of a PNG, or segments before the pixels of a JPEG: a PNG of 512 MiB has so many in pieces of 4 KiB."""

_MOST_SCANS = 50
"""Scans of a JPEG, of which each goes over all pixels: encoders write 1 to 20."""

_MOST_BLOCKS = 4096
"""Blocks of 255 bytes before the pixels of a GIF: Pillow copies a comment for each of its blocks."""


def check_pieces(data: bytes) -> None:
    """Refuse a PNG, JPEG or GIF of too many pieces; does nothing about other files.

    Raises:
        ValueError: It has too many.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check(_count_chunks(data), _MOST, "chunks of a PNG")
    elif data.startswith(b"\xff\xd8"):
        _check(_count_segments(data), _MOST, "segments of a JPEG")
        # In what is compressed no such pair occurs; in other bytes, such as a film at the end, one in 65536.
        _check(_count_scans(data), _MOST_SCANS + len(data) // 32768, "scans of a JPEG")
    elif data.startswith(b"GIF8"):
        _check(_count_blocks(data), _MOST_BLOCKS, "blocks of a GIF")


def _check(found: int, most: int, pieces: str) -> None:
    if found > most:
        raise ValueError(f"{found} or more {pieces}; at most {most} are read")


def _count_chunks(data: bytes) -> int:
    """Count the chunks of a PNG: length (4 bytes), name (4), content, checksum (4)."""
    at, count = 8, 0
    while at + 12 <= len(data) and count <= _MOST:
        at += 12 + int.from_bytes(data[at : at + 4])
        count += 1
    return count


def _count_scans(data: bytes) -> int:
    """Count the pairs FF DA: as `bytes.count` does, in a seventh of its time."""
    pairs = (np.frombuffer(part, "<u2", len(part) // 2) for part in (data, memoryview(data)[1:]))
    return sum(int(np.count_nonzero(two == 0xDAFF)) for two in pairs)


def _count_segments(data: bytes) -> int:
    """Count the segments of a JPEG before its pixels: FF, marker, length (2 bytes, itself included), content."""
    at, count = 2, 0
    while at + 4 <= len(data) and count <= _MOST and data[at : at + 2] != b"\xff\xda":
        # Pillow skips what is no marker byte by byte.
        at += max(2 + int.from_bytes(data[at + 2 : at + 4]), 4) if data[at] == 0xFF and data[at + 1] != 0xFF else 1
        count += 1
    return count


def _count_blocks(data: bytes) -> int:
    """Count the blocks of the extensions before the image of a GIF: 21, label, blocks of a length and content, 0."""
    flags = data[10] if len(data) > 10 else 0
    at, count = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0), 0
    while at + 2 < len(data) and data[at] == 0x21 and count <= _MOST_BLOCKS:
        at += 2
        while at < len(data) and data[at] and count <= _MOST_BLOCKS:
            at += 1 + data[at]
            count += 1
        at += 1
    return count
