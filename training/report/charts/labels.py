"""Places for texts beside a plot, so that none covers another or a point."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

FONT_PX = 15.0
"""Largest size that texts of a chart are shown in, on a phone; in SVG user units."""

LINE_PX = 1.25 * FONT_PX
"""Least distance of two lines of text."""

_WIDTH = 0.62  # of a letter, in sizes of the font: above the mean of the fonts in report.css


def text_width(text: str) -> float:
    """Estimate the width of a text in `FONT_PX`, rather too wide than too narrow."""
    return _WIDTH * FONT_PX * len(text)


def cut(text: str, width: float) -> str:
    """Shorten a text so that it fits a width, with an ellipsis at its end."""
    most = int(width / (_WIDTH * FONT_PX))
    return text if len(text) <= most else text[: max(most - 1, 1)].rstrip() + "…"


def spread(wished: Sequence[float], low: float, high: float, gap: float = LINE_PX) -> list[float]:
    """Move positions apart as little as possible, until each is at least `gap` from the next.

    The sum of squared moves is least: with i gaps subtracted from the i-th in order, the positions need only not fall,
    which is isotonic regression.

    Args:
        wished: Positions, in any order.
        low: Least position allowed.
        high: Largest position allowed; `gap` becomes smaller if they would not fit.
        gap: Least distance.

    Returns:
        The positions in the order given.
    """
    count = len(wished)
    if not count:
        return []
    steps = min(gap, (high - low) / max(count - 1, 1)) * np.arange(count)
    order = np.argsort(wished, kind="stable")
    shifted = isotonic_regression(np.asarray(wished, np.float64)[order] - steps).x
    found = np.empty(count)
    found[order] = np.clip(shifted, low, high - steps[-1]) + steps
    return [float(place) for place in found]
