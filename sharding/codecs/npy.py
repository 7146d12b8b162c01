"""`.npy` files, which are not trusted: the header is compared with the number of bytes before it is used.

The format is https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1.0 and 2.0.
"""

import io
import math
import tokenize
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import refuse_pixels
from sharding.errors import DataError

NPY_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 1 << 14  # numpy itself refuses headers of more than 10,000
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_FAILURES = (
    *(ValueError, SyntaxError, TypeError, LookupError, ArithmeticError),
    *(EOFError, RecursionError, MemoryError, tokenize.TokenError),
)
"""Exceptions of numpy's header reader on other bytes: it evaluates the header as a Python literal."""


def encode_npy(array: NDArray[Any]) -> bytes:
    """Encode an array as a `.npy` file: bit-exact."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return b"".join((header.getvalue(), array.data))  # one copy; `np.save` would need more memory


def view_npy(data: bytes | memoryview, expected: str = "a .npy file of numbers") -> NDArray[Any]:
    """Return the array of a `.npy` file as a read-only view of `data`, without a copy.

    Args:
        data: The file.
        expected: What was expected, for the message.

    Returns:
        An array of 1 to 3 axes, of the dtype of the file: float, int, uint or bool, of at most 8 bytes.

    Raises:
        DataError: It is no such file, does not hold numbers, or its number of bytes differs from that in its header.
    """
    try:
        shape, fortran, dtype, begin = _find_header(data)
        _check_header(shape, dtype, len(data) - begin)
        flat = np.frombuffer(data, dtype, math.prod(shape), begin)  # 1-d, read-only
        return flat.reshape(shape, order="F" if fortran else "C")  # a view, in both orders
    except _FAILURES as error:
        raise _refuse(data, expected, error) from error


def view_record(data: bytes | memoryview, expected: str) -> NDArray[Any]:
    """Return the record of a `.npy` file as a read-only view of `data`: an array (1,) with named fields.

    Args:
        data: The file.
        expected: What was expected, for the message.

    Raises:
        DataError: It is no such file, or its number of bytes differs from that in its header.
    """
    try:
        shape, _, dtype, begin = _find_header(data)
        if shape != (1,) or dtype.names is None or dtype.hasobject:
            raise ValueError(f"{dtype} {shape}")
        _check_bytes(shape, dtype, len(data) - begin)
        return np.frombuffer(data, dtype, 1, begin)
    except _FAILURES as error:
        raise _refuse(data, expected, error) from error


def _refuse(data: bytes | memoryview, expected: str, error: Exception) -> DataError:
    reason = str(error)[:200]  # it may hold the whole header
    return DataError(f"expected {expected}, found {len(data)} bytes of something else: {reason}")


def _find_header(data: bytes | memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran order and dtype of the file, and where its data begin; see `_FAILURES`."""
    lengths = 10 if data[6:7] == b"\1" else 12  # magic (6), version (2), length of the header (2 or 4)
    end = lengths + int.from_bytes(data[8:lengths], "little")
    return _parse_header(bytes(data[: min(end, _MAX_HEADER_BYTES)]))


@lru_cache(64)
def _parse_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    # The views of a set have few sizes, and to evaluate a header takes as long as to inflate a mask.
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version not in _READ_HEADER:
        raise ValueError(f"version {version}")
    shape, fortran, dtype = _READ_HEADER[version](stream)
    return shape, fortran, dtype, stream.tell()


def _check_header(shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise ValueError(f"{dtype} {shape}")
    _check_bytes(shape, dtype, found)


def _check_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    expected = math.prod(shape) * dtype.itemsize
    if expected != found:
        raise ValueError(f"{dtype} {shape} takes {expected} bytes, found {found}")


def load_npy(data: bytes | memoryview) -> NDArray[Any]:
    """Load the map in a `.npy` file as stored: (H, W), read-only; a trailing axis of 1, as in DIODE, is dropped.

    Raises:
        DataError: It is no such file, or of more than `MAX_PIXELS` pixels.
    """
    array = view_npy(data)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2:
        raise DataError(f"expected a map of numbers (H, W) or (H, W, 1), found {array.dtype} {array.shape}")
    refuse_pixels(array.shape)
    return array


def decode_npy(data: bytes | memoryview) -> NDArray[np.float32]:
    """Decode a `.npy` depth part: float32 (H, W).

    Raises:
        DataError: It is no such file.
    """
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is not valid
        return load_npy(data).astype(np.float32)  # a copy: the length of the header may leave the view unaligned
