"""Line charts as SVG: values at their places, and no text that hides a point or another text."""

import math
import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.report.charts.labels import FONT_PX, text_width
from training.report.charts.line_chart import WIDTH, Line, Reference, line_chart
from training.report.charts.styles import arm_styles

STYLES = arm_styles(4)
LINE = Line(name="a <b>", points=((1, 0.5), (2, 0.25), (3, 0.75)), style=STYLES[0])
SVG = "{http://www.w3.org/2000/svg}"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def polyline(svg: str) -> list[tuple[float, float]]:
    points = re.search(r'<polyline points="([^"]*)"', svg).group(1).split()
    return [tuple(float(part) for part in point.split(",")) for point in points]


def text_boxes(svg: str) -> list[Box]:
    """The boxes of all texts, in the font size of a phone."""
    boxes = []
    for text in ElementTree.fromstring(svg).iter("text"):
        words = "".join(part for part in ([text.text or ""] + [child.tail or "" for child in text]))
        x, y, width = float(text.get("x")), float(text.get("y")), text_width(words)
        left = {"end": x - width, "middle": x - width / 2}.get(text.get("text-anchor"), x)
        if words:
            boxes.append((left, y - 0.75 * FONT_PX, left + width, y + 0.22 * FONT_PX))
    return boxes


def marker_boxes(svg: str) -> list[Box]:
    boxes = []
    root = ElementTree.fromstring(svg)
    for circle in root.iter("circle"):
        x, y, r = (float(circle.get(name)) for name in ("cx", "cy", "r"))
        boxes.append((x - r, y - r, x + r, y + r))
    for polygon in root.iter("polygon"):
        xs, ys = zip(*(map(float, point.split(",")) for point in polygon.get("points").split()), strict=True)
        boxes.append((min(xs), min(ys), max(xs), max(ys)))
    return boxes


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_a_chart_is_well_formed_and_stays_within_its_box() -> None:
    svg = line_chart("loss by epoch", [LINE], [Reference(name="row & mean", value=0.4, style=1)])
    height = float(ElementTree.fromstring(svg).get("viewBox").split()[3])
    assert all(0 <= x <= WIDTH and 0 <= y <= height for x, y in polyline(svg))


def test_higher_values_are_drawn_higher_and_later_epochs_further_right() -> None:
    (x1, y1), (x2, y2), (x3, y3) = polyline(line_chart("", [LINE]))
    assert x1 < x2 < x3
    assert y3 < y1 < y2


def test_points_say_their_values() -> None:
    assert "a &lt;b&gt;, epoch 2: 0.25" in line_chart("", [LINE])


def test_a_single_epoch_can_be_drawn() -> None:
    assert len(polyline(line_chart("", [Line(name="a", points=((1, 0.5),), style=STYLES[0])]))) == 1


def test_a_wide_range_is_drawn_on_a_logarithmic_scale() -> None:
    wide = Line(name="a", points=((1, 30.0), (2, 3.0), (3, 0.3)), style=STYLES[0])
    svg = line_chart("", [wide])
    (_, y1), (_, y2), (_, y3) = polyline(svg)
    assert "logarithmic scale" in svg
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.11)  # equal factors, equal steps
    assert "logarithmic" not in line_chart("", [LINE])


VALUES = st.floats(0.01, 2.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=12), min_size=1, max_size=4),
    st.lists(st.tuples(st.text("abcdefgh ,", min_size=1, max_size=40), VALUES), max_size=6),
)
def test_no_text_hides_a_point_or_another_text(curves: list[list[float]], levels: list[tuple[str, float]]) -> None:
    lines = [Line(name="x", points=tuple((at + 1.0, y) for at, y in enumerate(curve)), style=STYLES[number])
             for number, curve in enumerate(curves)]  # fmt: skip
    svg = line_chart("t", lines, [Reference(name=name, value=y, style=at) for at, (name, y) in enumerate(levels)])
    height = float(ElementTree.fromstring(svg).get("viewBox").split()[3])
    texts, points = text_boxes(svg), marker_boxes(svg)
    assert len(points) == sum(map(len, curves))
    for text in texts:
        assert not any(overlap(text, point) for point in points)
        assert -1 <= text[0]
        assert text[2] <= WIDTH + 1
        assert text[1] >= -FONT_PX / 2
        assert text[3] <= height + 1
    assert not any(overlap(one, other) for one, other in combinations(texts, 2))


def test_levels_are_where_their_values_are_and_lead_to_their_names() -> None:
    levels = [Reference(name=f"level {at}", value=0.5 + at * 1e-3, style=at) for at in range(3)]
    svg = line_chart("", [LINE], levels)
    root = ElementTree.fromstring(svg)
    lines = [one for one in root.iter("line") if "ref" in one.get("class").split()]
    assert len({one.get("stroke-dasharray") for one in lines}) == 3
    names = [one for one in root.iter("text") if one.get("class") == "ref-label"]
    assert [one[0].text for one in names] == [level.name for level in levels]
    assert math.dist(*[(0, float(one.get("y"))) for one in names[:2]]) >= FONT_PX
    assert len([one for one in root.iter("line") if one.get("class") == "lead"]) >= 2


def test_lines_of_one_colour_have_different_dashes() -> None:
    lines = [Line(name=str(at), points=LINE.points, style=STYLES[0], dash=at) for at in range(5)]
    found = re.findall(r'<polyline points="[^"]*"( stroke-dasharray="[^"]*")?/>', line_chart("", lines))
    assert len(set(found)) == 5
