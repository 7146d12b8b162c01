"""Line charts as inline SVG: no script, colours by CSS class, so that they follow the page's light or dark theme."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from training.report.charts.axis import Axis, value_ticks, whole_ticks
from training.report.charts.labels import LINE_PX, cut, spread, text_width
from training.report.charts.styles import Style, dash

WIDTH, HEIGHT = 460, 300
TOP, BOTTOM, EDGE = 14, 44, 14  # margins of the plot area; all in SVG user units, y downwards
_GAP = 8  # between the plot area and texts beside it
_MOST_LABEL = 140.0  # width of the texts on the right


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Shown as the tooltip of a point.
        points: (x, y); y is finite.
        style: Colour and marker.
        dash: Number of its dash among the lines of this style, from 0.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    style: Style
    dash: int = 0


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A labelled horizontal line across the chart.

    Attributes:
        name: Its label, on the right of the plot.
        value: Its y value.
        style: Number of its style among the references, from 0.
    """

    name: str
    value: float
    style: int


@dataclass(frozen=True)
class _Frame:
    """The plot area.

    Attributes:
        x: Axis of the epochs.
        y: Axis of the values.
        left: Where it begins.
        right: Where it ends.
        height: Of the whole chart.
    """

    x: Axis
    y: Axis
    left: float
    right: float
    height: float

    @property
    def bottom(self) -> float:
        return self.height - BOTTOM


def line_chart(title: str, lines: Sequence[Line], references: Sequence[Reference] = ()) -> str:
    """Draw lines over epochs, and horizontal lines to compare them with, whose names stand outside of the plot area.

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
    names = [cut(reference.name, _MOST_LABEL) for reference in references]
    left = _GAP + max(text_width(f"{tick:g}") for tick in y_ticks)
    right = WIDTH - (_GAP + max(map(text_width, names)) if names else EDGE)
    height = max(HEIGHT, TOP + BOTTOM + LINE_PX * len(names))
    frame = _Frame(
        # 0.2 epochs of margin on both sides; at least one epoch wide, so that a single epoch has an axis.
        x=Axis(low=min(xs) - 0.2, high=max(max(xs), min(xs) + 1) + 0.2, start_px=left, end_px=right),
        # SVG's y grows downwards: the least value is at the larger pixel.
        y=Axis(low=y_ticks[0], high=y_ticks[-1], start_px=height - BOTTOM, end_px=TOP, log=log),
        left=left,
        right=right,
        height=height,
    )
    parts = [
        *_grid(frame, x_ticks, y_ticks),
        f'<text x="{left:.1f}" y="{height - 4:.1f}">{"logarithmic scale" if log else ""}</text>',
        f'<text x="{right:.1f}" y="{height - 4:.1f}" text-anchor="end">epoch</text>',
        *_references(frame, references, names),
        *(_line(frame, line) for line in lines),
    ]
    box = f'viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}"'
    return f"<svg {box}><title>{escape(title)}</title>" + "".join(parts) + "</svg>"


def _grid(frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
    parts = []
    for tick in y_ticks:
        y = frame.y(tick)
        parts.append(_horizontal("grid", frame, y))
        parts.append(f'<text class="tick" x="{frame.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x, y = frame.x(tick), frame.bottom + 18
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{tick:g}</text>')
    return parts


def _horizontal(css: str, frame: _Frame, y: float, more: str = "") -> str:
    return f'<line class="{css}" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"{more}/>'


def _references(frame: _Frame, references: Sequence[Reference], names: Sequence[str]) -> list[str]:
    """Draw the lines, and their names beside the plot area, apart from each other."""
    ys = [frame.y(reference.value) for reference in references]
    parts = []
    for reference, name, y, place in zip(references, names, ys, spread(ys, TOP, frame.bottom), strict=True):
        css, start = f"r{reference.style % 2}", frame.right + _GAP
        pattern = f' stroke-dasharray="{dash(reference.style + 1)}"'
        parts.append(_horizontal(f"ref {css}", frame, y, pattern))
        if abs(place - y) > 1:
            parts.append(
                f'<line class="lead" x1="{frame.right:.1f}" x2="{start - 2:.1f}" y1="{y:.1f}" y2="{place:.1f}"/>'
            )
        parts.append(
            f'<text class="ref-label" x="{start:.1f}" y="{place + 4:.1f}"><title>{escape(reference.name)}</title>'
            f"{escape(name)}</text>"
        )
    return parts


def _line(frame: _Frame, line: Line) -> str:
    pixels = [(frame.x(x), frame.y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    markers = [
        _marker(line.style.marker, at, f"{line.name}, epoch {x:g}: {y:.4g}")
        for at, (x, y) in zip(pixels, line.points, strict=True)
        if len(pixels) <= 40 or (x, y) == line.points[-1]  # on long curves markers would hide the line
    ]
    pattern = f' stroke-dasharray="{dash(line.dash)}"' if line.dash else ""
    return f'<g class="{line.style.css}"><polyline points="{path}"{pattern}/>' + "".join(markers) + "</g>"


def _marker(shape: str, at: tuple[float, float], label: str) -> str:
    x, y = at
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
