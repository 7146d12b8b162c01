"""Depth as 16-bit codes of log depth, in byte planes: rounded, fast to read, and without a valid mask.

A part is a `.npy` file of one record: `near` and `far` (float64), `steps` (uint32) and `planes`, uint8 (2, H, W), the
lower bytes of the codes first. Code c in 1..steps + 1 means `near * (far / near) ** ((c - 1) / steps)`; 0 is invalid.
There are only as many steps as `MAX_CODED` needs: fewer codes compress better.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import refuse_pixels
from sharding.codecs.npy import encode_npy, view_record
from sharding.errors import DataError

_HALF_STEP = 9.9e-5

MAX_CODED = _HALF_STEP + 2**-23
"""Bound of the relative error: half a step, and float32's rounding."""

MAX_STEPS = 65534
"""Steps between code 1 (near) and code 65535 (far)."""

_STEP = 2 * math.log1p(_HALF_STEP)  # of the logarithm
_EXPECTED = "a .npy file of a record of near, far, steps and planes, uint8 (2, H, W)"
_NUMBERS = (("near", "<f8"), ("far", "<f8"), ("steps", "<u4"))
_NORMAL = float(np.finfo(np.float32).tiny)
_LEAST, _LARGEST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)


def count_steps(near: float, far: float) -> int:
    """Return how many steps keep `MAX_CODED` between two depths, above 0; more than `MAX_STEPS` cannot be encoded."""
    return max(1, math.ceil(math.log(far / near) / _STEP))


def can_encode(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> bool:
    """Tell whether `encode_log16_planes` keeps its bound: not of subnormal depth, nor over too large a range.

    Args:
        depth: float32 (H, W), above 0 and finite where `valid`.
        valid: bool (H, W), somewhere True.
    """
    near, far = float(depth[valid].min()), float(depth[valid].max())
    return near >= _NORMAL and count_steps(near, far) <= MAX_STEPS


def encode_log16_planes(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> bytes:
    """Encode valid depth; pixels that are not valid get code 0.

    Args:
        depth: float32 (H, W), above 0 and finite where `valid`; any values elsewhere.
        valid: bool (H, W).

    Raises:
        DataError: The range of the depth needs more than `MAX_STEPS` steps.
    """
    near, far = (float(depth[valid].min()), float(depth[valid].max())) if valid.any() else (1.0, 1.0)
    steps = count_steps(near, far)
    if steps > MAX_STEPS:
        raise DataError(f"expected depth of {MAX_STEPS} steps or fewer, found {steps} between {near:g} and {far:g}")
    span = math.log(far / near) or 1.0  # one depth only: no division by 0, all codes are 1
    logs = np.log(np.where(valid, depth, np.float32(near)).astype(np.float64) / near)
    codes = np.where(valid, np.rint(logs / span * steps) + 1, 0).astype("<u2")
    record = np.zeros(1, [*_NUMBERS, ("planes", "|u1", (2, *depth.shape))])
    record["near"], record["far"], record["steps"] = near, far, steps
    record["planes"][0] = codes.view(np.uint8).reshape(*depth.shape, 2).transpose(2, 0, 1)
    return encode_npy(record)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CodedDepth:
    """What `encode_log16_planes` wrote, not decoded.

    Attributes:
        near, far: Depth of code 1, and of code `steps` + 1; 0 < near <= far, in the unit of the depth.
        steps: 1 to `MAX_STEPS`.
        planes: uint8 (2, H, W), the lower bytes of the codes and the upper ones; a read-only view of the file.
    """

    near: float
    far: float
    steps: int
    planes: NDArray[np.uint8]

    def table(self) -> NDArray[np.float32]:
        """Compute the depth of each code: float32 (65536,), 0 for code 0 and for codes that no depth has."""
        span = math.log(self.far / self.near) if self.far > self.near else 0.0
        depth = np.zeros(MAX_STEPS + 2, np.float32)
        depth[1 : self.steps + 2] = self.near * np.exp(np.arange(self.steps + 1.0) / self.steps * span)
        return depth

    def check(self, codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return the codes, joined from `planes`, after comparing them with the number of steps.

        Raises:
            DataError: One is larger.
        """
        if (largest := int(codes.max())) > self.steps + 1:
            raise DataError(f"expected codes of depth up to {self.steps + 1}, found {largest}")
        return codes


def view_log16_planes(data: bytes | memoryview) -> CodedDepth:
    """Return the record that `encode_log16_planes` wrote.

    Raises:
        DataError: It is no such file, of more than `MAX_PIXELS` pixels, or near and far are no range of depth.
    """
    record = view_record(data, _EXPECTED)
    _check_fields(record.dtype)
    near, far, steps = (record[name][0].item() for name, _ in _NUMBERS)
    if not (_LEAST <= near <= far <= _LARGEST and 1 <= steps <= MAX_STEPS):
        raise DataError(f"expected depth with 0 < near <= far, 1 to {MAX_STEPS} steps, found {near}, {far}, {steps}")
    return CodedDepth(near=near, far=far, steps=steps, planes=record["planes"][0])


def _check_fields(dtype: np.dtype[Any]) -> None:
    shape = dtype["planes"].shape if dtype.names and "planes" in dtype.names else ()
    if len(shape) != 3 or dtype != np.dtype([*_NUMBERS, ("planes", "|u1", (2, *shape[1:]))]) or min(shape) < 1:
        raise DataError(f"expected {_EXPECTED}, found {str(dtype)[:200]}")
    refuse_pixels(shape[1:])


def decode_log16_planes(data: bytes | memoryview) -> NDArray[np.float32]:
    """Decode what `encode_log16_planes` wrote: float32 (H, W), 0 where invalid.

    Raises:
        DataError: As `view_log16_planes`, or a code is beyond its number of steps.
    """
    coded = view_log16_planes(data)
    codes = coded.planes[1].astype(np.uint16)
    codes <<= 8
    codes |= coded.planes[0]
    return coded.table().take(coded.check(codes))
