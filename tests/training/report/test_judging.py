"""Contrasts of fabricated runs against a plain computation."""

import math

import numpy as np
import pytest
from scipy import stats

from training.metrics.names import GUARDS
from training.report.judging import find_guards, find_unguarded, judge, log_pair, scene_means
from training.report.verdict import headline


@pytest.fixture
def arms(fabricate, draw_images, plausible):
    """A near arm, one 30 % above it, and another seed set of the first, with three runs each."""
    means = {"low": (0.2, 0), "high": (0.26, 10), "again": (0.2, 20)}
    return {
        name: [plausible(fabricate(name, draw_images(mean, first + seed))) for seed in range(3)]
        for name, (mean, first) in means.items()
    }


def test_the_ratio_is_that_of_geometric_means_over_scenes_and_runs(arms) -> None:
    (contrast,) = judge(arms, [("low", "high")], 0.1)
    means = [
        [[row["log10"] for row in run.scenes("headline").values()] for run in arms[name]] for name in ("low", "high")
    ]
    low, high = np.log(means).mean(axis=(1, 2))
    assert contrast.these_scenes.ratio == pytest.approx(math.exp(low - high))


def test_on_these_scenes_the_test_is_welchs_over_runs(arms) -> None:
    (contrast,) = judge(arms, [("low", "high")], 0.1)
    units = [[np.mean([math.log(row["log10"]) for row in run.scenes("headline").values()]) for run in arms[name]]
             for name in ("low", "high")]  # fmt: skip
    found = stats.ttest_ind(*units, equal_var=False)
    claim = contrast.these_scenes
    assert (claim.p_value, claim.df) == pytest.approx((found.pvalue, found.df))
    assert (claim.low, claim.high) == pytest.approx(tuple(np.exp(found.confidence_interval(0.95))))
    assert (claim.low90, claim.high90) == pytest.approx(tuple(np.exp(found.confidence_interval(0.90))))
    assert claim.relation == "better"


def test_holm_is_over_all_contrasts_and_can_withhold(arms, fabricate, draw_images) -> None:
    pairs = [("low", "high"), ("low", "again"), ("high", "again")]
    contrasts = judge(arms, pairs, 0.1)
    values = np.array([one.these_scenes.p_value for one in contrasts])
    order = np.argsort(values)
    stepped = np.minimum(1, np.maximum.accumulate(values[order] * (3, 2, 1)))
    assert [contrasts[at].these_scenes.p_adjusted for at in order] == pytest.approx(list(stepped))
    assert [one.these_scenes.relation for one in contrasts] == ["better", "equivalent", "worse"]
    adjusted = contrasts[0].these_scenes.p_adjusted
    assert contrasts[0].these_scenes.reason == f"p = {adjusted:.2g} (after Holm's correction over 3 contrasts)"


def test_the_reason_says_that_the_p_value_is_corrected_and_not_the_interval(fabricate, draw_images) -> None:
    arms = {
        name: [fabricate(name, draw_images(mean + 0.05 * seed, 10 * at + seed)) for seed in range(3)]
        for at, (name, mean) in enumerate((("a", 0.2), ("b", 0.23), ("c", 0.26)))
    }
    reason = judge(arms, [("a", "b"), ("a", "c")], 0.1)[0].these_scenes.reason
    correction, interval = (
        reason.index(text) for text in (" (after Holm's correction over 2 contrasts)", "90 % interval")
    )
    assert reason.startswith("p = ")
    assert correction < interval


def test_holm_takes_no_p_value_of_a_contrast_that_decides_nothing(arms, fabricate, draw_images, plausible) -> None:
    far = [plausible(fabricate("far", draw_images(2.0, 30 + seed))) for seed in range(2)]
    high = [plausible(fabricate("high", draw_images(0.21, 40 + seed))) for seed in range(3)]
    pairs = [("far", "low"), ("low", "high")]
    lacking, whole = (one.these_scenes for one in judge({**arms, "far": far, "high": high}, pairs, 0.1))
    assert (lacking.relation, lacking.p_value, lacking.p_adjusted) == ("undecided", None, None)
    assert whole.p_adjusted == pytest.approx(2 * whole.p_value)  # whatever the p-value of the other would have been


def test_turning_a_contrast_round_turns_its_claims(arms) -> None:
    there, back = (judge(arms, [pair], 0.1)[0] for pair in (("low", "high"), ("high", "low")))
    for ahead, behind in zip((one for _, one in there.claims()), (one for _, one in back.claims()), strict=True):
        assert ahead.ratio == pytest.approx(1 / behind.ratio)
        assert (ahead.low, ahead.high) == pytest.approx((1 / behind.high, 1 / behind.low))
        assert {"better": "worse", "undecided": "undecided"}[ahead.relation] == behind.relation


def scaled(evaluation, factor: float, *metrics: str):
    """An evaluation some metrics of which are multiplied."""
    table = evaluation.table.copy()
    for metric in metrics:
        table[metric] *= factor
    return type(evaluation)(**{**vars(evaluation), "table": table})


@pytest.mark.parametrize(("metric", "factor"), [("abs_rel", 2.0), ("rmse", 2.0), ("silog", 2.0), ("delta1", 0.5)])
def test_better_is_withheld_if_a_guard_is_worse_beyond_the_margin(arms, metric: str, factor: float) -> None:
    spoilt = {**arms, "low": [scaled(run, factor, metric) for run in arms["low"]]}
    (contrast,) = judge(spoilt, [("low", "high")], 0.1)
    assert next(guard for guard in contrast.guards if guard.name == metric).worse == "a"
    claim = contrast.these_scenes
    assert (claim.relation, claim.withheld) == ("undecided", "better")
    assert "withheld" in claim.reason
    assert metric in claim.reason
    (turned,) = judge(spoilt, [("high", "low")], 0.1)
    assert (turned.these_scenes.relation, turned.these_scenes.withheld) == ("undecided", "worse")


def test_the_reason_of_a_withheld_claim_tells_by_how_much_the_winner_is_worse(arms) -> None:
    ratio = judge(arms, [("low", "high")], 0.1)[0].guards[0].ratio
    spoilt = {**arms, "low": [scaled(run, 1.25 / ratio, "abs_rel") for run in arms["low"]]}
    reason = '"better" is withheld: of low, abs_rel is 25 % higher, beyond the margin of 10 %'
    assert judge(spoilt, [("low", "high")], 0.1)[0].these_scenes.reason == reason
    assert judge(spoilt, [("high", "low")], 0.1)[0].these_scenes.reason == reason.replace("better", "worse")


def test_what_is_undecided_keeps_its_reason_whatever_the_guards_say(arms) -> None:
    spoilt = {**arms, "again": [scaled(run, 2.0, "abs_rel") for run in arms["again"][:2]]}
    claim = judge(spoilt, [("again", "low")], 0.1)[0].these_scenes
    assert (claim.withheld, claim.reason) == ("", "an arm has fewer than 3 runs (2 and 3)")


def test_arms_that_reach_the_floor_in_every_scene_are_undecided(fabricate) -> None:
    perfect = {name: [fabricate(name, {"1_a": value, "2_a": value}) for value in values]
               for name, values in (("a", (1e-7, 2e-7, 3e-7)), ("b", (4e-7, 5e-7, 6e-7)))}  # fmt: skip
    (contrast,) = judge(perfect, [("a", "b")], 0.1)
    for _, claim in contrast.claims():
        assert (claim.ratio, claim.low, claim.df, claim.relation) == (1.0, None, None, "undecided")
    assert contrast.sentences() == [
        "a against b: undecided: the runs of an arm have equal means, as copies of one run have: they tell nothing "
        "about other seeds; log10 is the same (ratio 1.000)."
    ]


def test_a_withheld_claim_is_told_in_the_headline(arms) -> None:
    spoilt = {**arms, "low": [scaled(run, 2.0, "abs_rel") for run in arms["low"]]}
    (contrast,) = judge(spoilt, [("low", "high")], 0.1)
    assert headline([contrast]).startswith("low against high is undecided (better by log10 alone)")


def test_a_share_that_both_arms_hardly_reach_is_no_guard(arms) -> None:
    none, hardly = 0.0, 0.0004
    for left, right in ((none, hardly), (hardly, none)):
        failed = {
            "low": [scaled(run, left, "delta1") for run in arms["low"]],
            "high": [scaled(run, right, "delta1") for run in arms["high"]],
        }
        (contrast,) = judge(failed, [("low", "high")], 0.1)
        assert next(guard.ratio for guard in contrast.guards if guard.name == "delta1") == 1
        assert contrast.these_scenes.relation == "better"


def test_a_guard_within_the_margin_or_of_the_loser_withholds_nothing(arms) -> None:
    (plain,) = judge(arms, [("low", "high")], 0.1)
    ratio = next(guard.ratio for guard in plain.guards if guard.name == "rmse")
    for factor, runs in ((1.05 / ratio, "low"), (3.0, "high")):
        changed = {**arms, runs: [scaled(run, factor, "rmse") for run in arms[runs]]}
        assert judge(changed, [("low", "high")], 0.1)[0].these_scenes.relation == "better"


def test_guards_are_the_metrics_and_the_deciding_one_without_edges(arms) -> None:
    low, high = ([scene_means(run) for run in arms[name]] for name in ("low", "high"))
    assert [guard.name for guard in find_guards(low, high, 0.1)] == [*GUARDS, "log10_edge_cleaned"]
    without = [{name: means for name, means in run.items() if name != "edge_cleaned"} for run in low]
    assert [guard.name for guard in find_guards(without, high, 0.1)] == list(GUARDS)


def test_a_guard_without_values_is_told(arms) -> None:
    contrasts = judge(arms, [("low", "high"), ("low", "again")], 0.1)
    assert list(find_unguarded(contrasts)) == []
    lacking = {**arms, "high": [scaled(run, math.nan, "rmse") for run in arms["high"]]}
    found = judge(lacking, [("low", "high"), ("low", "again")], 0.1)
    assert list(find_unguarded(found)) == ["No value of rmse in low : high: not guarded by it."]
    assert list(find_unguarded(found[:1])) == ["No value of rmse: not guarded by it."]


def test_too_few_runs_are_undecided(arms) -> None:
    (contrast,) = judge({"a": arms["low"][:1], "b": arms["high"]}, [("a", "b")], 0.1)
    for _, claim in contrast.claims():
        assert (claim.relation, claim.reason) == ("undecided", "an arm has fewer than 3 runs (1 and 3)")
        assert (claim.low, claim.df, claim.p_value, claim.p_adjusted) == (None, None, None, None)
    assert contrast.sentences()[0].startswith(
        "a against b: undecided: an arm has fewer than 3 runs (1 and 3); log10 is "
    )


def test_one_scene_tells_nothing_of_others(fabricate, draw_images, plausible) -> None:
    arms = {name: [plausible(fabricate(name, draw_images(mean, at, ("1",)))) for at in range(3)]
            for name, mean in (("a", 0.2), ("b", 0.4))}  # fmt: skip
    (contrast,) = judge(arms, [("a", "b")], 0.1)
    assert contrast.these_scenes.relation == "better"
    assert (contrast.scenes_like_these.relation, contrast.scenes_like_these.reason) == (
        "undecided",
        "there is a single scene",
    )


def test_only_scenes_that_all_runs_have_count_and_none_is_without_a_logarithm(fabricate) -> None:
    values = {"1_a": 0.0, "2_a": 0.5}, {"1_a": 0.1, "2_a": 0.5, "3_a": 1.0}, {"1_a": 1.0, "2_a": 0.2, "3_a": 0.1}
    first, second, other = (scene_means(fabricate("x", one)) for one in values)
    ours, theirs = log_pair([first, second], [other], "log10", "headline")
    assert ours == pytest.approx(np.log([[1e-6, 0.5], [0.1, 0.5]]))
    assert theirs == pytest.approx(np.log([[1.0, 0.2]]))
    shares, _ = log_pair([first, second], [other], "delta1", "headline")
    assert np.isfinite(shares).all()
