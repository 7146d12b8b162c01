"""Depth as byte planes: the bytes of float32 values are separated, so that similar bytes are adjacent and compress.

A part is a `.npy` file of uint8 (4, H, W): plane i holds byte i of each little-endian float32, the lowest first.
zstd compresses the last plane, sign and exponent, well, and stores the noise in the first ones as it is. The planes are
bit-exact; only `round_depth`, applied before, loses bits.
"""

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import refuse_pixels
from sharding.codecs.npy import encode_npy, view_npy
from sharding.codecs.strips import strips
from sharding.errors import DataError

MAX_ROUNDING = 1e-4
"""Bound of the relative error of `round_depth`, whose largest error is 2**-13 / 1.25 = 9.77e-5."""

_EXPECTED = "a .npy file of byte planes, uint8 (4, H, W)"
# Bits of a float32 (IEEE 754): sign 1, exponent 8, mantissa 23. A quarter is the mantissa of 1.25.
_MANTISSA, _QUARTER = np.uint32(0x007FFFFF), np.uint32(0x00200000)
_LEAST_NORMAL, _INFINITY = np.uint32(0x00800000), np.uint32(0x7F800000)


def encode_planes(depth: NDArray[np.float32]) -> bytes:
    """Encode float32 (H, W) as byte planes: bit-exact, NaN payloads and signs of zeros included."""
    lowest_first = np.ascontiguousarray(depth, dtype="<f4").view(np.uint8).reshape(*depth.shape, 4)  # (H, W, 4)
    return encode_npy(lowest_first.transpose(2, 0, 1))


def view_planes(data: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the planes that `encode_planes` wrote, uint8 (4, H, W), as a read-only view of `data`.

    Raises:
        DataError: It is no such file, or of more than `MAX_PIXELS` pixels.
    """
    planes = view_npy(data, _EXPECTED)
    if planes.ndim != 3 or planes.shape[0] != 4 or planes.dtype != np.uint8:
        raise DataError(f"expected {_EXPECTED}, found {planes.dtype} {planes.shape}")
    refuse_pixels(planes.shape[1:])
    return planes


def decode_planes(data: bytes | memoryview) -> NDArray[np.float32]:
    """Decode what `encode_planes` wrote: float32 (H, W).

    Raises:
        DataError: It is no such file, or of more than `MAX_PIXELS` pixels.
    """
    planes = view_planes(data)
    # (4, H, W) -> (H, W, 4), four adjacent bytes per value -> float32 (H, W, 1) -> (H, W).
    joined: NDArray[np.float32] = np.stack(list(planes), axis=-1).view("<f4")[..., 0]
    return joined.astype(np.float32, copy=False)


def round_depth(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Round valid depth to the fewest bits of its mantissa that keep the relative error within `MAX_ROUNDING`.

    A significand m in 1..2 is rounded to 13 bits after the point if it is below 1.25, else to 12: the relative error is
    at most 2**-14 / m or 2**-13 / m. This works at any distance; values without such a rounding (subnormal, or next to
    the largest float) are unchanged.

    Args:
        depth: float32 (H, W), above 0 and finite where `valid`; any values elsewhere.
        valid: bool (H, W).

    Returns:
        float32 (H, W), 0 where not `valid`.
    """
    rounded = np.empty(depth.shape, np.float32)
    for rows in strips(depth.shape):
        rounded[rows] = _round_bits(np.where(valid[rows], depth[rows], np.float32(0)).astype(np.float32, copy=False))
    return rounded


def _round_bits(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    bits = depth.view(np.uint32)
    dropped = np.where((bits & _MANTISSA) < _QUARTER, np.uint32(10), np.uint32(11))
    # Round half up. A carry out of the mantissa increments the exponent, which is the next power of two, as it should.
    half = np.left_shift(np.uint32(1), dropped - np.uint32(1))
    rounded = ((bits + half) >> dropped) << dropped
    unchanged = (bits < _LEAST_NORMAL) | (rounded >= _INFINITY)
    return np.where(unchanged, bits, rounded).view(np.float32)
