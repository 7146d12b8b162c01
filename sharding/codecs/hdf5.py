"""MegaDepth's HDF5 depth files: one dataset `/depth`, (H, W). The only module that uses h5py.

The files are not trusted: nothing is read before it is known to be stored in the file itself and to fit into memory.
HDF5 can refer to other files of the machine (external storage is read, a virtual dataset ends the process), claim any
size without storing it, and inflate a chunk to any size.
"""

import io
import os
import zlib
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import check_pixels, to_float32
from sharding.errors import DataError

DATASET = "/depth"

_FAILURES = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError, zlib.error)
"""Exceptions that h5py raises on a damaged file, on opening it or later."""

_HARMLESS_BYTES, _HARMLESS_TOTAL_BYTES = 1 << 28, 1 << 30
"""Chunks that cannot inflate to more than 256 MiB, and 1 GiB together, are not inflated to check them."""

_DEFLATE_RATIO, _LZF_RATIO = 1032, 88
"""How much a filter expands at most: https://zlib.net/zlib_tech.html, and for LZF 264 bytes of 3."""

_PIECE_BYTES, _CHECKSUM_BYTES = 1 << 16, 4
"""To inflate in pieces of 64 KiB is as fast as at once; fletcher32 appends 4 bytes."""

_CHUNKS = 1 << 16
"""A list of more chunks takes more memory, and more time, than what is in them."""

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""Allowed filters, whose need of memory is known before they are applied."""

_INFLATING = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
"""Filters that expand; at most one is allowed, because the ratios of two multiply."""


def read_depth(source: bytes | str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read the depth map of an HDF5 file.

    Args:
        source: Bytes of the file, or its path.

    Returns:
        float32 (H, W) as stored: up-to-scale depth with 0 for no depth, or ordinal labels.

    Raises:
        DataError: The file is missing, damaged or no HDF5 file, or `/depth` is missing, not two-dimensional, not
            numeric, larger than `MAX_PIXELS`, or not stored in this file itself.
    """
    where = f"HDF5 file of {len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)
    try:
        with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            return _read_dataset(file, where)
    except _FAILURES as error:
        raise DataError(f"{where}: cannot be read as HDF5 ({error}); is it a whole file of MegaDepth?") from error


def write_depth(path: str | os.PathLike[str], depth: NDArray[np.float32]) -> None:
    """Write a depth map in the layout of MegaDepth's files; the same depth gives the same bytes.

    Args:
        path: File to write; overwritten if it exists.
        depth: float32 (H, W).
    """
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, data=np.asarray(depth, np.float32), track_times=False)


def _read_dataset(file: Any, where: str) -> NDArray[np.float32]:
    links, name = file.id.links, DATASET.strip("/").encode()
    # `file[DATASET]` would follow an external link into another file, so the type of the link is checked first.
    inside = links.exists(name) and links.get_info(name).type == h5py.h5l.TYPE_HARD
    found = file[DATASET] if inside else None
    if not isinstance(found, h5py.Dataset):
        names = sorted(file)[:5]
        raise DataError(f"{where}: expected a dataset {DATASET!r}, found {names}; is it a MegaDepth depth file?")
    if found.shape is None or len(found.shape) != 2 or found.dtype.kind not in "fiub":
        raise DataError(
            f"{where}: expected {DATASET!r} of numbers, of shape (H, W), found {found.dtype} {found.shape}; "
            "is it a MegaDepth depth file?"
        )
    check_pixels(found.shape)
    _check_layout(found)
    return to_float32(found[()])


def _check_layout(dataset: Any) -> None:
    """Refuse a dataset whose values are stored in other files, or whose chunks need more memory than they declare.

    Raises:
        ValueError: It is such a dataset.
    """
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count() > 0:
        raise ValueError("its values are stored in other files")
    if dataset.chunks is None:  # stored as they are, without filters
        return
    check_pixels(dataset.chunks)  # a chunk may be larger than the dataset, and is always read whole
    if (count := prod(-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True))) > _CHUNKS:
        raise ValueError(f"{count} chunks of {dataset.chunks}; at most {_CHUNKS} are read")
    filters = [properties.get_filter(at)[0] for at in range(properties.get_nfilters())]
    if not _FILTERS.issuperset(filters) or sum(one in _INFLATING for one in filters) > 1:
        raise ValueError(f"filters {filters}")
    stored: list[Any] = []
    dataset.id.chunk_iter(stored.append)
    total = sum(chunk.size for chunk in stored)
    if total > dataset.file.id.get_filesize():
        raise ValueError(f"chunks of {total} bytes in a file of {dataset.file.id.get_filesize()}")
    if h5py.h5z.FILTER_FLETCHER32 in filters and any(chunk.size <= _CHECKSUM_BYTES for chunk in stored):
        raise ValueError("a chunk with less than its checksum")  # HDF5 would read beyond it: the process ends
    if h5py.h5z.FILTER_LZF in filters:
        most = max((chunk.size for chunk in stored), default=0)
        if most * _LZF_RATIO > _HARMLESS_BYTES or total * _LZF_RATIO > 4 * _HARMLESS_TOTAL_BYTES:
            raise ValueError(f"LZF chunks of {total} bytes, one of {most}: compress it with gzip")
    if h5py.h5z.FILTER_DEFLATE in filters:
        _check_deflated(dataset, filters.index(h5py.h5z.FILTER_DEFLATE), stored, total)


def _check_deflated(dataset: Any, place: int, stored: list[Any], total: int) -> None:
    """Inflate each chunk up to its declared size; HDF5 would inflate it to its end, however large that is.

    Args:
        dataset: A dataset with chunks.
        place: Position of the deflate filter in its pipeline.
        stored: Its chunks.
        total: Their stored bytes.

    Raises:
        ValueError: A chunk inflates to more than its declared size.
    """
    limit = prod(dataset.chunks) * dataset.dtype.itemsize + 4  # fletcher32 may have appended 4 bytes before deflate
    harmless = _HARMLESS_BYTES if total * _DEFLATE_RATIO <= _HARMLESS_TOTAL_BYTES else 0
    for chunk in stored:
        # Bit `place` of the mask is set if the filter was skipped for this chunk.
        if chunk.filter_mask >> place & 1 or chunk.size * _DEFLATE_RATIO <= harmless:
            continue
        _, data = dataset.id.read_direct_chunk(chunk.chunk_offset)  # the raw bytes, no filter applied
        if _inflates_beyond(data, limit):
            raise ValueError(f"a chunk of {limit} bytes inflates to more")


def _inflates_beyond(data: bytes, limit: int) -> bool:
    """Tell whether a zlib stream inflates to more than `limit` bytes, in pieces that are forgotten."""
    inflater, found, view = zlib.decompressobj(), 0, memoryview(data)
    for at in range(0, len(data), _PIECE_BYTES):
        piece: bytes | memoryview = view[at : at + _PIECE_BYTES]
        while piece and found <= limit and not inflater.eof:
            found += len(inflater.decompress(piece, _PIECE_BYTES))
            piece = inflater.unconsumed_tail
    return found > limit
