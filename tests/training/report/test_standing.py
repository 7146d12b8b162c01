import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.standing import (
    Standing,
    caution,
    compare_evaluations,
    distinct,
    headline,
    ranking,
    relative_change,
)

POSITIVE = st.floats(1e-3, 1e3)


def standing(arm: float, baseline: float, name: str = "row mean") -> Standing:
    return Standing(
        arm="a", baseline=name, arm_value=arm, baseline_value=baseline,
        scenes_better=1, num_scenes=2, images_better=3, num_images=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "baseline", "relation"),
    [(0.3, 0.4, "beats"), (0.4, 0.3, "does not beat"), (0.3, 0.3, "equals"), (0.30000001, 0.30000002, "beats")],
)
def test_the_standing_follows_the_exact_values(arm: float, baseline: float, relation: str) -> None:
    assert standing(arm, baseline).relation == relation


def test_the_standing_flips_when_arm_and_baseline_change_places(fabricate) -> None:
    low, high = fabricate("low", {"1_a": 0.1, "2_a": 0.2}), fabricate("high", {"1_a": 0.3, "2_a": 0.4})
    assert compare_evaluations(("low", low), ("high", high)).relation == "beats"
    assert compare_evaluations(("high", high), ("low", low)).relation == "does not beat"


def test_scenes_and_images_are_counted_where_the_arm_is_strictly_lower(fabricate) -> None:
    arm = fabricate("arm", {"1_a": 0.1, "1_b": 0.9, "2_a": 0.2, "2_b": 0.2})
    baseline = fabricate("baseline", {"1_a": 0.3, "1_b": 0.3, "2_a": 0.2, "2_b": 0.5})
    found = compare_evaluations(("arm", arm), ("baseline", baseline))
    assert (found.arm_value, found.baseline_value) == pytest.approx((0.35, 0.325))
    assert (found.images_better, found.num_images) == (2, 4)  # an equal image is not a better one
    assert (found.scenes_better, found.num_scenes) == (1, 2)


def test_the_sentence_holds_the_numbers() -> None:
    assert standing(0.3, 0.4).sentence() == (
        "a beats the row mean: log10 0.300 against 0.400 (25 % lower); "
        "it is lower in 1 of 2 scenes and on 3 of 4 images"
    )


@given(POSITIVE, POSITIVE)
def test_unequal_values_never_print_the_same(first: float, second: float) -> None:
    printed = distinct(first, second)
    assert (printed[0] == printed[1]) == (first == second)


@given(POSITIVE, POSITIVE)
def test_printed_values_keep_their_order(first: float, second: float) -> None:
    printed = [float(text) for text in distinct(first, second)]
    assert (printed[0] < printed[1]) == (first < second)


def test_values_that_round_alike_are_printed_with_more_digits() -> None:
    assert distinct(0.43121, 0.43124) == ("0.43121", "0.43124")
    assert distinct(0.431, 0.431) == ("0.431", "0.431")


@pytest.mark.parametrize(
    ("value", "reference", "text"),
    [
        (0.2, 0.4, "50 % lower"),
        (0.404, 0.4, "1.0 % higher"),
        (0.40001, 0.4, "less than 0.1 % higher"),
        (0.4, 0.4, "the same"),
        (2.0, 0.5, "300 % higher"),
    ],
)
def test_relative_changes_are_in_words(value: float, reference: float, text: str) -> None:
    assert relative_change(value, reference) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.1, 0.2, 0.3], "All 3 arms beat the row mean on log10."),
        ([0.1, 0.6, 0.7], "1 of 3 arms beats the row mean on log10."),
        ([0.1, 0.2, 0.7], "2 of 3 arms beat the row mean on log10."),
        ([0.5, 0.6, 0.7], "None of the 3 arms beats the row mean on log10."),
        ([0.6], "The arm does not beat the row mean on log10."),
    ],
)
def test_the_headline_counts_arms_that_beat_strictly(values: list[float], text: str) -> None:
    assert headline([standing(value, 0.5) for value in values]) == text


def test_the_headline_names_each_baseline() -> None:
    found = [standing(0.3, 0.5, "constant median"), standing(0.3, 0.2)]
    assert headline(found) == "The arm beats the constant median, and the arm does not beat the row mean on log10."
    found = [standing(value, 0.5, name) for name in ("constant median", "row mean") for value in (0.3, 0.4)]
    assert headline(found) == "Both arms beat the constant median and the row mean on log10."


def test_the_ranking_tells_near_values_apart_and_admits_ties() -> None:
    ranked = ranking([("b", 0.43124), ("a", 0.43121), ("c", 0.5)])
    assert ranked == "Among the arms a has the lowest log10 (0.43121), then b (0.43124), c (0.500)."
    assert ranking([("a", 0.4), ("b", 0.4)]) == "a and b share the lowest log10 (0.400)."
    assert ranking([("a", 0.4)]) == ""


def test_the_caution_says_that_one_seed_is_one_draw() -> None:
    text = caution([0, 0, 0], 12, 3)
    assert "trained once (seed 0)" in text
    assert "one seed is one draw" in text
    assert "12 images come from 3 scenes" in text
    assert "No significance is claimed" in text
    assert "(seeds 0, 1)" in caution([0, 1], 12, 3)
