"""Line charts as inline SVG: no script, colours by CSS class, so that they follow the page's light or dark theme.

Draws numbers, whatever they mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 40  # margins around the plot area; all in SVG user units, y downwards
LOG_FROM = 8.0
"""If the largest value of a chart is more than this multiple of the least, its y axis is logarithmic."""

MARKERS = ("circle", "square", "diamond", "triangle")
"""Shapes of the points, by line style; they distinguish lines without colour."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Shown as the tooltip of a point.
        points: (x, y); y is finite.
        style: Number of its colour and marker, from 0.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    style: int


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A labelled horizontal line across the chart.

    Attributes:
        name: Its label.
        value: Its y value.
        style: Number of its style among the reference styles, from 0.
    """

    name: str
    value: float
    style: int


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


def line_chart(title: str, lines: Sequence[Line], references: Sequence[Reference] = ()) -> str:
    """Draw lines over epochs, and horizontal lines to compare them with.

    Args:
        title: Title of the chart, for screen readers.
        lines: Lines, with at least one point in all.
        references: Horizontal lines.

    Returns:
        An `<svg>` element.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [reference.value for reference in references]
    x_ticks, (y_ticks, log) = whole_ticks(min(xs), max(xs)), value_ticks(min(ys), max(ys))
    # 0.2 epochs of margin on both sides; at least one epoch wide, so that a single epoch has an axis.
    x_axis = Axis(low=min(xs) - 0.2, high=max(max(xs), min(xs) + 1) + 0.2, start_px=LEFT, end_px=WIDTH - RIGHT)
    # SVG's y grows downwards: the least value is at the larger pixel.
    y_axis = Axis(low=y_ticks[0], high=y_ticks[-1], start_px=HEIGHT - BOTTOM, end_px=TOP, log=log)
    parts = [
        *_grid(x_axis, y_axis, x_ticks, y_ticks),
        f'<text x="{LEFT}" y="{HEIGHT - 6}">{"logarithmic scale" if log else ""}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">epoch</text>',
        *(_reference(reference, y_axis) for reference in references),
        *(_line(line, x_axis, y_axis) for line in lines),
        *(_label(reference, y_axis) for reference in references),
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _grid(x_axis: Axis, y_axis: Axis, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
    parts = []
    for y in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_axis(y):.1f}" y2="{y_axis(y):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y_axis(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        parts.append(
            f'<text class="tick" x="{x_axis(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>'
        )
    return parts


def _reference(reference: Reference, y_axis: Axis) -> str:
    y = y_axis(reference.value)
    return f'<line class="ref r{reference.style}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _label(reference: Reference, y_axis: Axis) -> str:
    # On the left, where the curves of errors and losses are usually still far above the references.
    return (
        f'<text class="ref-label" x="{LEFT + 3}" y="{y_axis(reference.value) - 5:.1f}">{escape(reference.name)}</text>'
    )


def _line(line: Line, x_axis: Axis, y_axis: Axis) -> str:
    pixels = [(x_axis(x), y_axis(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    markers = [
        _marker(line.style, at, f"{line.name}, epoch {x:g}: {y:.4g}")
        for at, (x, y) in zip(pixels, line.points, strict=True)
        if len(pixels) <= 40 or (x, y) == line.points[-1]  # on long curves markers would hide the line
    ]
    return f'<g class="s{line.style}"><polyline points="{path}"/>' + "".join(markers) + "</g>"


def _marker(style: int, at: tuple[float, float], label: str) -> str:
    x, y = at
    shape = MARKERS[style % len(MARKERS)]
    # Offsets from the point, pixels.
    corners: dict[str, list[tuple[float, float]]] = {
        "square": [(-3, -3), (3, -3), (3, 3), (-3, 3)],
        "diamond": [(0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0)],
        "triangle": [(0, -4.2), (4, 3.2), (-4, 3.2)],
    }
    title = f"<title>{escape(label)}</title>"
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4">{title}</circle>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners[shape])
    return f'<polygon points="{points}">{title}</polygon>'


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
