import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.charts.forest import Bar, forest_plot

RATIOS = st.floats(0.01, 100.0)


def bar(ratio: float, low: float | None = None, high: float | None = None) -> Bar:
    return Bar(name="a : b", kind="on these scenes", relation="better", ratio=ratio, low=low, high=high, text="t")


def test_one_is_in_the_middle_and_the_scale_is_logarithmic() -> None:
    plot = forest_plot([bar(0.8, 0.64, 1.0), bar(1.25)], 0.1)
    first, second = plot["rows"]
    assert (first["high"], first["at"] + second["at"]) == pytest.approx((50, 100), abs=0.02)
    assert first["at"] - first["low"] == pytest.approx(first["high"] - first["at"], abs=0.02)
    assert plot["band"]["low"] + plot["band"]["high"] == pytest.approx(100, abs=0.02)
    assert (second["low"], second["high"]) == (None, None)
    assert not any(row["less"] or row["more"] for row in plot["rows"])


def test_what_lies_beyond_the_scale_ends_in_an_arrow() -> None:
    (row,) = forest_plot([bar(1.0, 0.001, 1e9)], 0.1)["rows"]
    assert (row["low"], row["high"], row["less"], row["more"]) == (0, 100, True, True)
    (row,) = forest_plot([bar(1.0, 0.0, math.inf)], 0.1)["rows"]
    assert (row["low"], row["high"], row["less"], row["more"]) == (0, 100, True, True)


@given(st.lists(st.tuples(RATIOS, st.floats(1.0, 3.0)), min_size=1, max_size=5), st.floats(0.01, 0.9))
def test_places_are_in_order_within_the_track_and_ticks_apart(rows: list[tuple[float, float]], margin: float) -> None:
    plot = forest_plot([bar(ratio, ratio / wide, ratio * wide) for ratio, wide in rows], margin)
    for row in plot["rows"]:
        assert 0 <= row["low"] <= row["at"] <= row["high"] <= 100
    assert 0 <= plot["band"]["low"] < 50 < plot["band"]["high"] <= 100
    places = [tick["at"] for tick in plot["ticks"]]
    assert "1" in [tick["text"] for tick in plot["ticks"]]
    assert all(b - a >= 10.9 for a, b in pairwise(places))
