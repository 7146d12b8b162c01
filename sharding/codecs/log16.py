"""Depth as a 16-bit PNG of log depth: read from older sets, written by `depthstream predict`."""

import io
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from sharding.codecs.image import open_image

LOG16_CODES = 65534
"""Steps between code 1 (near) and code 65535 (far); 0 is invalid."""


def encode_log16(depth: NDArray[np.float32], valid: NDArray[np.bool_], notes: Mapping[str, str] | None = None) -> bytes:
    """Encode valid depth as a 16-bit PNG of log depth; pixels that are not valid, or not above 0, get code 0.

    Code c in 1..65535 means `near * (far / near) ** ((c - 1) / 65534)`; `near` and `far`, the least and largest valid
    depth, are stored as PNG text chunks. The relative error is at most `log16_error(near, far)`: 5.5e-5 from 0.3 to
    400 m.

    Args:
        depth: float32 (H, W), metres or another unit, finite where `valid`.
        valid: bool (H, W).
        notes: Further text chunks, by keyword.
    """
    valid = valid & (depth > 0)  # 0 has no logarithm
    near, far = (float(depth[valid].min()), float(depth[valid].max())) if valid.any() else (1.0, 1.0)
    span = math.log(far / near) or 1.0  # one depth only: no division by 0, all steps are 0
    steps = np.log(np.where(valid, depth, near).astype(np.float64) / near) / span * LOG16_CODES  # 0..65534
    codes = np.where(valid, np.rint(steps) + 1, 0).astype(np.uint16)
    text = PngImagePlugin.PngInfo()
    text.add_text("near", repr(near))
    text.add_text("far", repr(far))
    for keyword, note in (notes or {}).items():
        text.add_text(keyword, note)
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def is_log16(head: bytes) -> bool:
    """Tell whether a file begins as `encode_log16` writes it, from its first 512 bytes."""
    return head.startswith(b"\x89PNG\r\n\x1a\n") and b"tEXtnear\0" in head and b"tEXtfar\0" in head


def decode_log16(data: bytes | memoryview) -> NDArray[np.float32]:
    """Decode what `encode_log16` wrote: float32 (H, W), 0 where invalid.

    Raises:
        DataError: It is no such file, or damaged.
    """
    with open_image(bytes(data), "a 16-bit PNG of log depth with near and far") as image:
        near, far = float(image.info["near"]), float(image.info["far"])
        codes = np.asarray(image).astype(np.uint16)
        if not 0 < near <= far < math.inf or codes.ndim != 2:
            raise ValueError(f"near {near}, far {far}, mode {image.mode}")
    # A table of all codes, indexed by the image: 65536 exponentials instead of H x W.
    depth_of_code = near * np.exp((np.arange(65536.0) - 1) / LOG16_CODES * (math.log(far / near) or 1.0))
    depth_of_code[0] = 0  # invalid
    return depth_of_code.astype(np.float32)[codes]


def log16_error(near: float, far: float) -> float:
    """Bound the relative error of the code between `near` and `far` (> 0): half a step, plus float32's rounding."""
    return math.expm1(math.log(far / near) / LOG16_CODES / 2) + 2**-23
