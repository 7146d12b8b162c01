import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.charts import HEIGHT, WIDTH, Axis, Line, Reference, line_chart, value_ticks, whole_ticks

LINE = Line(name="a <b>", points=((1, 0.5), (2, 0.25), (3, 0.75)), style=0)


def polyline(svg: str) -> list[tuple[float, float]]:
    points = re.search(r'<polyline points="([^"]*)"', svg).group(1).split()
    return [tuple(float(part) for part in point.split(",")) for point in points]


def test_a_chart_is_well_formed_and_stays_within_its_box() -> None:
    svg = line_chart("loss by epoch", [LINE], [Reference(name="row & mean", value=0.4, style=1)])
    ElementTree.fromstring(svg)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in polyline(svg))


def test_higher_values_are_drawn_higher_and_later_epochs_further_right() -> None:
    (x1, y1), (x2, y2), (x3, y3) = polyline(line_chart("", [LINE]))
    assert x1 < x2 < x3
    assert y3 < y1 < y2


def test_points_say_their_values() -> None:
    assert "a &lt;b&gt;, epoch 2: 0.25" in line_chart("", [LINE])


def test_a_single_epoch_can_be_drawn() -> None:
    assert len(polyline(line_chart("", [Line(name="a", points=((1, 0.5),), style=0)]))) == 1


def test_a_wide_range_is_drawn_on_a_logarithmic_scale() -> None:
    wide = Line(name="a", points=((1, 30.0), (2, 3.0), (3, 0.3)), style=0)
    svg = line_chart("", [wide])
    (_, y1), (_, y2), (_, y3) = polyline(svg)
    assert "logarithmic scale" in svg
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.11)  # equal factors, equal steps
    assert "logarithmic" not in line_chart("", [LINE])


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
