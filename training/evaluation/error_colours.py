"""Colours of an error of depth, the ratio of prediction to truth: blue is too near, white is right, red is too far."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.reading.pictures import INVALID_COLOR, draw_bar

_ANCHORS = np.linspace(-1, 1, 7)  # log ratio / log(factor) of each colour below
_COLOURS = np.array(
    [(5, 48, 97), (67, 147, 195), (166, 209, 229), (247, 247, 247), (249, 189, 158), (214, 96, 77), (103, 0, 31)]
)
_MARKS = (1.2, 1.5, 2.0, 3.0, 4.0)  # ratios with a label, as far as the scale reaches


def paint_error(
    depth: NDArray[np.float32], truth: NDArray[np.float32], valid: NDArray[np.bool_], factor: float
) -> NDArray[np.uint8]:
    """Paint ln(prediction / truth): uint8 (H, W, 3); grey where `valid` is False.

    Args:
        depth: Prediction, float32 (H, W), metres, positive.
        truth: float32 (H, W), metres, read only where valid.
        valid: bool (H, W).
        factor: Ratio at the red end of the scale; its inverse is at the blue end.
    """
    ratio = np.where(valid, depth, 1.0) / np.where(valid, truth, 1.0)
    colours = paint_log_ratio(np.log(np.maximum(ratio, 1e-6)) / np.log(factor))  # no log of 0
    colours[~valid] = INVALID_COLOR
    return colours


def paint_log_ratio(value: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Paint values (H, W) from -1 (blue) to 1 (red) as uint8 (H, W, 3); values beyond get the colour of the end."""
    channels = [np.interp(value, _ANCHORS, _COLOURS[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def error_bar(height: int, factor: float) -> Image.Image:
    """Draw the scale of `paint_error` as a vertical bar of `height` pixels, too far on top, labelled with ratios."""
    colours = paint_log_ratio(np.linspace(1, -1, height)[:, None])[:, 0]  # (height, 3)
    ticks = [(0.5, "right")]
    for mark in (mark for mark in _MARKS if mark <= factor):
        away = np.log(mark) / np.log(factor) / 2
        ticks += [(0.5 - away, f"x {mark:g}"), (0.5 + away, f"/ {mark:g}")]
    return draw_bar(colours, ticks)
