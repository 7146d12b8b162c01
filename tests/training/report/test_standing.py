import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.standing import SceneStanding, Standing, compare_runs, distinct_texts, relative_change

POSITIVE = st.floats(1e-3, 1e3)


def standing(arm: float, baseline: float) -> Standing:
    scenes = {"1": SceneStanding(arm_value=arm, baseline_value=baseline, runs_better=2),
              "2": SceneStanding(arm_value=9.0, baseline_value=1.0, runs_better=0)}  # fmt: skip
    return Standing(
        arm="a", baseline="row", arm_value=arm, baseline_value=baseline, runs_better=2, num_runs=3, scenes=scenes
    )


@pytest.mark.parametrize(
    ("arm", "baseline", "relation"),
    [(0.3, 0.4, "beats"), (0.4, 0.3, "does not beat"), (0.3, 0.3, "equals"), (0.30000001, 0.30000002, "beats")],
)
def test_the_standing_follows_the_exact_values(arm: float, baseline: float, relation: str) -> None:
    assert standing(arm, baseline).relation == relation


def test_an_arm_is_the_mean_of_its_runs_and_runs_and_scenes_are_counted(fabricate) -> None:
    runs = [fabricate("r", {"1_a": 0.1, "1_b": 0.9, "2_a": 0.2}), fabricate("s", {"1_a": 0.2, "1_b": 0.2, "2_a": 0.2})]
    baseline = fabricate("row", {"1_a": 0.3, "1_b": 0.3, "2_a": 0.2})
    found = compare_runs("arm", "row", [(run, baseline) for run in runs])
    assert (found.arm_value, found.baseline_value) == pytest.approx((0.3, 0.8 / 3))
    assert (found.runs_better, found.num_runs) == (1, 2)
    first, second = found.scenes["1"], found.scenes["2"]
    assert (first.arm_value, first.baseline_value, first.runs_better) == pytest.approx((0.35, 0.3, 1))
    assert (second.arm_value, second.baseline_value, second.runs_better) == pytest.approx((0.2, 0.2, 0))
    assert found.scenes_better == 0  # an equal scene is not a better one
    assert found.to_json()["relation"] == "does not beat"


def test_each_run_meets_the_baseline_of_its_own_training_set(fabricate) -> None:
    pairs = [
        (fabricate("r", {"1_a": own}), fabricate("row", {"1_a": other})) for own, other in ((0.2, 0.1), (0.2, 0.5))
    ]
    found = compare_runs("arm", "row", pairs)
    assert (found.baseline_value, found.runs_better, found.relation) == (pytest.approx(0.3), 1, "beats")


def test_the_sentence_holds_the_numbers() -> None:
    assert standing(0.3, 0.4).sentence() == (
        "a beats the row baseline: log10 0.300 against 0.400 (25 % lower); "
        "it is lower in 2 of 3 runs and in 1 of 2 scenes"
    )


@given(POSITIVE, POSITIVE)
def test_unequal_values_never_print_the_same(first: float, second: float) -> None:
    printed = distinct_texts(first, second)
    assert (printed[0] == printed[1]) == (first == second)


@given(POSITIVE, POSITIVE)
def test_printed_values_keep_their_order(first: float, second: float) -> None:
    printed = [float(text) for text in distinct_texts(first, second)]
    assert (printed[0] < printed[1]) == (first < second)


def test_values_that_round_alike_are_printed_with_more_digits() -> None:
    assert distinct_texts(0.43121, 0.43124) == ("0.43121", "0.43124")
    assert distinct_texts(0.431, 0.431) == ("0.431", "0.431")


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
