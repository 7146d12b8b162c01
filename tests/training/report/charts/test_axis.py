import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.charts.axis import Axis, value_ticks, whole_ticks


@given(st.floats(1e-3, 1e3), st.floats(1.0, 100.0))
def test_ticks_enclose_the_values(low: float, factor: float) -> None:
    ticks, _ = value_ticks(low, low * factor)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] >= low * factor * (1 - 1e-9)
    assert ticks == sorted(set(ticks))


def test_epoch_ticks_are_whole_and_few() -> None:
    assert whole_ticks(1, 4) == [1, 2, 3, 4]
    assert len(whole_ticks(1, 100)) <= 9


def test_an_axis_maps_its_ends_to_its_ends() -> None:
    axis = Axis(low=1, high=100, start_px=10, end_px=210, log=True)
    assert [axis(value) for value in (1, 10, 100)] == pytest.approx([10, 110, 210])
