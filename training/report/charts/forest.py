"""The forest plot of a report: a track for each contrast and kind of claim, with the ratio and its 95 % interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FARTHEST = 4.0
"""Largest ratio that is drawn, and its inverse the least; what lies beyond ends in an arrow."""

_TICKS = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)
_APART = 11.0  # percent of the track between the centres of two ticks, for their texts on a phone


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row of the plot.

    Attributes:
        name: Its label.
        kind: What the claim is about.
        relation: The claim, which is also its CSS class.
        ratio: Where the point is.
        low: Where the interval begins; None for no interval.
        high: Where it ends; may be infinite.
        text: The numbers in words.
    """

    name: str
    kind: str
    relation: str
    ratio: float
    low: float | None
    high: float | None
    text: str


def forest_plot(bars: Sequence[Bar], margin: float) -> dict[str, Any]:
    """Place ratios, intervals and the margin on one logarithmic scale that is the same to both sides of 1.

    Returns:
        `rows` (name, kind, relation, text, at, low, high, less, more), `ticks` (at, text) and `band` (low, high), where
        places are in percent of the track; `less` and `more` tell whether the row goes on beyond an end.
    """
    values = [value for bar in bars for value in (bar.ratio, bar.low, bar.high) if value]
    reach = max(abs(math.log(value)) for value in (*values, 1 + margin))
    reach = min(1.15 * reach, math.log(FARTHEST))

    def at(value: float) -> float:
        place = math.log(value) if value > 0 else -math.inf
        return round(50 + 50 * max(-1.0, min(1.0, place / reach)), 2)

    def beyond(value: float | None) -> float:
        return 0.0 if value is None else math.log(value) / reach if value > 0 else -math.inf

    return {
        "band": {"low": at(1 / (1 + margin)), "high": at(1 + margin)},
        "ticks": [{"at": at(tick), "text": f"{tick:g}"} for tick in _ticks(reach)],
        "rows": [
            {
                "name": bar.name,
                "kind": bar.kind,
                "relation": bar.relation,
                "text": bar.text,
                "at": at(bar.ratio),
                "low": None if bar.low is None else at(bar.low),
                "high": None if bar.high is None else at(bar.high),
                "less": min(beyond(bar.low), beyond(bar.ratio)) < -1,
                "more": max(beyond(bar.high), beyond(bar.ratio)) > 1,
            }
            for bar in bars
        ],
    }


def _ticks(reach: float) -> list[float]:
    """Choose ticks around 1 whose texts do not touch."""
    chosen: list[float] = []
    for tick in sorted(_TICKS, key=lambda tick: (tick != 1, -abs(math.log(tick)))):
        place = math.log(tick) / reach
        if abs(place) <= 1 and all(50 * abs(place - math.log(other) / reach) >= _APART for other in chosen):
            chosen.append(tick)
    return sorted(chosen)
