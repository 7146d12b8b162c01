"""Byte ranges: merged before a read, and cut out of the merged bytes afterwards."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import overload

from sharding.stores.store import Buffer, Range

MAX_MERGED_BYTES = 8 << 20
"""Ranges that touch become one request up to this size; larger ones are requested in parallel."""


def merge_ranges(ranges: Iterable[Range], gap_bytes: int = 0, limit_bytes: int | None = None) -> list[Range]:
    """Merge ranges that overlap, or are at most `gap_bytes` apart.

    Args:
        ranges: (offset, length) in bytes, in any order; empty ones are left out.
        gap_bytes: Bytes between two ranges that may be read with them.
        limit_bytes: Size a merged range may grow to; None for any. A single larger range stays whole.

    Returns:
        Ranges sorted by offset; each input range is contained in one of them.
    """
    merged: list[Range] = []
    for start, length in sorted({span for span in ranges if span[1] > 0}):
        end = start + length  # sum(range) is offset + length, its end
        if merged and end <= sum(merged[-1]):
            continue  # contained in the one before
        near = bool(merged) and start - sum(merged[-1]) <= gap_bytes
        if near and (limit_bytes is None or end - merged[-1][0] <= limit_bytes):
            merged[-1] = merged[-1][0], end - merged[-1][0]
        else:
            merged.append((start, length))
    return merged


@overload
def cut_range(pieces: Sequence[tuple[Range, Buffer]], wanted: Range) -> Buffer: ...


@overload
def cut_range(pieces: Sequence[tuple[Range, Buffer | None]], wanted: Range) -> Buffer | None: ...


def cut_range(pieces: Sequence[tuple[Range, Buffer | None]], wanted: Range) -> Buffer | None:
    """Cut a range out of the merged ranges it was read with, without a copy.

    Args:
        pieces: What `merge_ranges` returned, each range with its bytes, or with None if they could not be read.
        wanted: One of the ranges that were merged.

    Returns:
        The bytes of `wanted`; None if the piece that holds them could not be read.
    """
    start, length = wanted
    if not length:
        return memoryview(b"")
    # Starts and ends of merged ranges both increase: if any holds `wanted`, the last that begins at or before it does.
    span, data = pieces[bisect_right(pieces, start, key=lambda piece: piece[0][0]) - 1]
    if data is None or span == wanted:
        return data
    return memoryview(data)[start - span[0] : start - span[0] + length]
