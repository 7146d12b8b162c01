from itertools import combinations

import pytest

from training.report.charts.styles import (
    BY_HAND,
    MIN_CONTRAST,
    SURFACES,
    arm_styles,
    contrast,
    dash,
    distance,
    style_sheet,
)


@pytest.mark.parametrize("number", [1, 6, 7, 12, 24])
def test_arms_have_colours_that_can_be_told_apart_and_seen_in_both_themes(number: int) -> None:
    styles = arm_styles(number)
    assert [style.index for style in styles] == list(range(number))
    for theme, surface in zip(("light", "dark"), SURFACES, strict=True):
        colours = [getattr(style, theme) for style in styles]
        assert len(set(colours)) == number
        assert all(contrast(colour, surface) >= MIN_CONTRAST for colour in colours)
        # Black and white are 1 apart; below 0.02 colours are hardly told apart side by side.
        assert all(distance(a, b) > 0.07 for a, b in combinations(colours, 2))


def test_more_arms_keep_the_colours_of_the_first() -> None:
    assert arm_styles(24)[:9] == arm_styles(9)
    assert [(one.light, one.dark) for one in arm_styles(6)] == list(BY_HAND)


def test_neighbours_have_different_markers() -> None:
    assert all(a.marker != b.marker for a, b in zip(arm_styles(12), arm_styles(12)[1:], strict=False))


def test_lines_have_as_many_dashes_as_are_asked_for() -> None:
    assert len({dash(index) for index in range(20)}) == 20
    assert dash(0) == ""


def test_the_style_sheet_has_a_rule_for_each_arm_in_both_themes() -> None:
    text = style_sheet(arm_styles(8))
    assert all(text.count(f".s{index} {{ --s: #") == 2 for index in range(8))


def test_distances_and_contrasts_are_those_of_the_standards() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WCAG's example of just too little for text
    assert distance("#000000", "#ffffff") == pytest.approx(1, abs=1e-4)
    assert distance("#123456", "#123456") == 0
