import numpy as np
import pytest

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.baselines.fitted import Baselines, fit_baselines
from training.baselines.measured import evaluate_baselines
from training.evaluation.evaluate import NamedPredictor, evaluate_model
from training.evaluation.results import Evaluation
from training.metrics.protocols import METRICS, PROTOCOLS

EVERYWHERE = np.ones((4, 5))


@pytest.fixture(scope="module")
def val(diode_sets: tuple[ShardSet, ShardSet]) -> ShardSet:
    """Three views, indoors and outdoor."""
    return ShardSet(diode_sets[1].url, where="scene in ('00022', '00019')")


@pytest.fixture(scope="module")
def train(diode_sets: tuple[ShardSet, ShardSet]) -> ShardSet:
    return ShardSet(diode_sets[0].url, where="scene == '00007'")


@pytest.fixture(scope="module")
def fitted(train: ShardSet) -> Baselines:
    return fit_baselines(train)


@pytest.fixture(scope="module")
def measured(fitted: Baselines, val: ShardSet) -> dict[str, Evaluation]:
    return evaluate_baselines(fitted, val)


@pytest.mark.parametrize("name", ["constant", "row"])
def test_each_metric_is_that_of_the_predictor_fitted_for_it(fitted, val, measured, name: str) -> None:
    for metric in METRICS:
        named = NamedPredictor(predictor=fitted.by_name[name][metric], name="", fingerprint="")
        expected = evaluate_model(named, val)
        for protocol in PROTOCOLS:
            rows, others = measured[name].rows(protocol), expected.rows(protocol)
            assert list(rows.index) == list(others.index)
            assert rows[metric].to_numpy() == pytest.approx(others[metric].to_numpy(), rel=1e-12)


def test_a_baseline_is_an_evaluation_like_any_other(fitted, val, measured) -> None:
    for name, evaluation in measured.items():
        assert evaluation.predictor == name
        assert evaluation.fingerprint == fitted.fingerprint
        assert set(evaluation.scenes("headline")) == set(val.index["scene"])
        assert set(evaluation.scene_types("headline")) == set(val.index["scene_type"])
        assert evaluation.protocols == PROTOCOLS


def test_on_its_training_set_no_other_constant_of_the_baseline_is_better(fitted, train) -> None:
    best = evaluate_baselines(fitted, train)["constant"].mean("headline")
    for metric in METRICS:
        other = evaluate_model(NamedPredictor(predictor=fitted.constant[metric], name="", fingerprint=""), train)
        for name, value in other.mean("headline").items():
            assert (value - best[name]) * (-1 if name.startswith("delta") else 1) >= -1e-3 * best[name]


def test_images_with_too_few_pixels_are_skipped(make_set) -> None:
    few = np.zeros((4, 5))
    few[0] = 1
    samples = make_set([("00001", np.full((4, 5), 2.0), few), ("00001", np.full((4, 5), 8.0), EVERYWHERE)])
    for evaluation in evaluate_baselines(fit_baselines(samples), samples).values():
        assert evaluation.skipped("headline") == 1
        assert evaluation.mean("headline")["mae"] == 0


def test_a_set_up_to_scale_is_refused(fitted, megadepth_set) -> None:
    with pytest.raises(UsageError, match="up to scale"):
        evaluate_baselines(fitted, ShardSet(megadepth_set.url, where="kind == 'up_to_scale'"))
