from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.report.charts.labels import cut, spread, text_width

WISHED = st.lists(st.floats(0, 100), max_size=8)


@settings(max_examples=40)
@given(WISHED)
def test_positions_are_apart_in_order_and_within_the_limits(wished: list[float]) -> None:
    found = spread(wished, 0, 200, 20)
    order = sorted(range(len(wished)), key=lambda at: wished[at])
    assert all(found[b] - found[a] >= 20 - 1e-9 for a, b in pairwise(order))
    assert all(-1e-9 <= place <= 200 + 1e-9 for place in found)


@given(WISHED)
def test_positions_that_are_apart_stay_where_they_are(wished: list[float]) -> None:
    apart = [place + 20 * at for at, place in enumerate(sorted(wished))]
    assert spread(apart, 0, 1000, 20) == pytest.approx(apart)


def test_positions_are_moved_as_little_as_possible() -> None:
    assert spread([50, 50], 0, 100, 20) == pytest.approx([40, 60])
    assert spread([50, 50, 90], 0, 100, 20) == pytest.approx([40, 60, 90])
    assert spread([1, 1], 0, 100, 20) == pytest.approx([0, 20])
    assert spread([99, 99], 0, 100, 20) == pytest.approx([80, 100])
    assert spread([5, 5, 5], 0, 10, 20) == pytest.approx([0, 5, 10])
    assert spread([], 0, 10) == []


@given(st.text(max_size=60), st.floats(20, 300))
def test_a_cut_text_fits(text: str, width: float) -> None:
    found = cut(text, width)
    assert text_width(found) <= max(width, text_width("xx"))
    assert found == text or found.endswith("…")
