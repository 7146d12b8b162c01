"""Axes: a mapping of values to pixels, linear or logarithmic, and round ticks on them."""

import math
from dataclasses import dataclass

LOG_FROM = 8.0
"""If the largest value of an axis is more than this multiple of the least, it is logarithmic."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A mapping of values to pixels.

    Attributes:
        low: Value at `start_px`.
        high: Value at `end_px`.
        start_px: Pixel of `low`.
        end_px: Pixel of `high`.
        log: Whether the scale is logarithmic.
    """

    low: float
    high: float
    start_px: float
    end_px: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Map a value to its pixel; values beyond `low` and `high` are extrapolated."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start_px + (value - low) / (high - low) * (self.end_px - self.start_px)


def whole_ticks(low: float, high: float, at_most: int = 8) -> list[float]:
    """Choose evenly spaced whole numbers from `low` to `high`, at most `at_most + 1` of them."""
    step = max(1, math.ceil((high - low) / at_most))
    return [float(tick) for tick in range(math.ceil(low), math.floor(high) + 1, step)]


def value_ticks(low: float, high: float) -> tuple[list[float], bool]:
    """Choose round numbers that enclose `low` and `high`, and tell whether they are spaced logarithmically.

    On a logarithmic axis these are 1, 2 and 5 times powers of 10; on a linear one about four steps of 1, 2, 2.5 or 5
    times a power of 10.
    """
    if low > 0 and high / low > LOG_FROM:
        # One power more on each side than needed, in case the logarithm is rounded across a power of 10.
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        steps = [m * 10.0**power for power in powers for m in (1, 2, 5)]
        first = max(index for index, step in enumerate(steps) if step <= low)
        last = min(index for index, step in enumerate(steps) if step >= high)
        return steps[first : last + 1], True
    span = max(high - low, 1e-3 * max(abs(low), abs(high))) or 1.0  # equal values need an axis of some height, too
    rough = span / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    # The least round step not below `rough`, so that at most 6 ticks enclose the values.
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    # round: 3 * 0.1 would otherwise be 0.30000000000000004.
    return [round(index * step, 10) for index in range(first, last + 1)], False
