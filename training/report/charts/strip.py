"""The strip plot of a report: a track for each arm and baseline, a bar at its mean, a dot at each of its runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.report.charts.axis import value_ticks


@dataclass(frozen=True, kw_only=True)
class Track:
    """A row of the plot.

    Attributes:
        name: Its label.
        mean: Value of the bar.
        text: The value in words.
        dots: Label, value and text of each dot.
    """

    name: str
    mean: float
    text: str
    dots: tuple[tuple[str, float, str], ...] = ()


def strip_plot(tracks: Sequence[Track]) -> dict[str, Any]:
    """Place bars and dots on one scale that begins at 0.

    Returns:
        `rows` (name, at, text, dots) and `ticks` (at, text), where `at` is in percent of the track.
    """
    largest = max(value for track in tracks for value in (track.mean, *(dot[1] for dot in track.dots)))
    ticks = [tick for tick in value_ticks(0.0, largest)[0] if tick >= 0]

    def at(value: float) -> float:
        return round(100 * value / ticks[-1], 2)

    return {
        "ticks": [{"at": at(tick), "text": f"{tick:g}"} for tick in ticks],
        "rows": [
            {
                "name": track.name,
                "at": at(track.mean),
                "text": track.text,
                "dots": [{"name": name, "at": at(value), "text": text} for name, value, text in track.dots],
            }
            for track in tracks
        ],
    }
