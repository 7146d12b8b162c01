"""Depth as byte planes: float32 values taken apart, so that equal bytes stand together and compress.

A part is a `.npy` file of uint8 (4, H, W): plane i holds byte i of each little-endian float32, the lowest first.
zstd finds sign and exponent in the last plane, and leaves the noise of the first ones as it is. Bit-exact; what loses
bits on purpose is `round_depth`, before.
"""

import io

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError

MAX_ROUNDING = 1e-4
"""Bound of the relative error of `round_depth`. What it reaches is 2**-13 / 1.25, 9.77e-5."""

_MANTISSA, _QUARTER = np.uint32(0x007FFFFF), np.uint32(0x00200000)
_LEAST_NORMAL, _INFINITY = np.uint32(0x00800000), np.uint32(0x7F800000)


def encode_planes(depth: NDArray[np.float32]) -> bytes:
    """Encode float32 (H, W) as byte planes: bit-exact, NaN payloads and signs of zeros included."""
    lowest_first = np.ascontiguousarray(depth, dtype="<f4").view(np.uint8).reshape(*depth.shape, 4)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(lowest_first.transpose(2, 0, 1)), allow_pickle=False)
    return buffer.getvalue()


def decode_planes(data: bytes) -> NDArray[np.float32]:
    """Decode what `encode_planes` wrote: float32 (H, W).

    Raises:
        DataError: It is no such file.
    """
    planes = _view_planes(data)
    joined: NDArray[np.float32] = np.stack(list(planes), axis=-1).view("<f4")[..., 0]
    return joined.astype(np.float32, copy=False)


def _view_planes(data: bytes) -> NDArray[np.uint8]:
    """The array of the `.npy` file, uint8 (4, H, W): not a copy, which would take as long as joining the planes."""
    stream = io.BytesIO(data)
    try:
        if (version := np.lib.format.read_magic(stream)) != (1, 0):
            raise ValueError(f"version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if len(shape) != 3 or shape[0] != 4 or dtype != np.uint8 or fortran:
            raise ValueError(f"{dtype} {shape}")
        return np.frombuffer(data, np.uint8, offset=stream.tell()).reshape(shape)
    except ValueError as error:
        raise DataError(
            f"expected a .npy file of byte planes, uint8 (4, H, W), found {len(data)} bytes of something else: {error}"
        ) from error


def round_depth(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Round valid depth to as few bits of its mantissa as keep the relative error within `MAX_ROUNDING`.

    A mantissa m in 1..2 is rounded to 13 bits, from 1.25 on to 12: the error is at most 2**-14 / m or 2**-13 / m. No
    range of distances is assumed, so none is left: values that have no such rounding (subnormal, or next to the
    largest float) stay as they are.

    Args:
        depth: float32 (H, W), above 0 and finite where `valid`; any values elsewhere.
        valid: bool (H, W).

    Returns:
        float32 (H, W), 0 where not `valid`.
    """
    bits = np.where(valid, depth, np.float32(0)).astype(np.float32, copy=False).view(np.uint32)
    dropped = np.where((bits & _MANTISSA) < _QUARTER, np.uint32(10), np.uint32(11))
    half = np.left_shift(np.uint32(1), dropped - np.uint32(1))
    rounded = ((bits + half) >> dropped) << dropped
    kept = (bits < _LEAST_NORMAL) | (rounded >= _INFINITY)
    return np.where(kept, bits, rounded).view(np.float32)
