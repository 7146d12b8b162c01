import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.evaluation.baselines import constant_baseline
from training.evaluation.evaluate import (
    Computing,
    NamedPredictor,
    Predictor,
    evaluate_model,
    evaluation_file,
    native_batch,
)
from training.evaluation.evaluation_text import format_evaluation
from training.evaluation.results import Evaluation, load_matching
from training.loading.dataset import DiodeDepthDataset
from training.model.metrics import METRICS, PROTOCOLS, MetricSums, image_metrics

EVERYWHERE = np.ones((4, 5))


def judge(predictor: Predictor, samples: ShardSet) -> Evaluation:
    return evaluate_model(NamedPredictor(predictor=predictor, name="tested", fingerprint="0" * 64), samples)


def test_the_truth_has_no_error_under_any_protocol(diode_sets, oracle) -> None:
    evaluation = judge(oracle(diode_sets[1]), diode_sets[1])
    for protocol in PROTOCOLS:
        means = evaluation.mean(protocol)
        assert [means[name] for name in METRICS[:-3]] == pytest.approx([0] * 7, abs=1e-9)
        assert [means[name] for name in METRICS[-3:]] == [1, 1, 1]


def test_a_doubled_truth_is_off_by_its_factor_alone(make_set, oracle) -> None:
    depth = np.arange(1, 21).reshape(4, 5)
    samples = make_set([("00001", depth, EVERYWHERE)])
    evaluation = judge(oracle(samples, 2.0), samples)
    found = evaluation.mean("headline")
    assert found["abs_rel"] == pytest.approx(1)
    assert found["mae"] == pytest.approx(10.5)
    assert found["log10"] == pytest.approx(math.log10(2))
    assert found["silog"] == pytest.approx(0, abs=1e-4)
    assert found["delta3"] == 0  # 2 > 1.25^3
    assert evaluation.mean("median_scaled")["abs_rel"] == pytest.approx(0, abs=1e-7)


def test_each_image_counts_the_same_however_many_pixels_it_has(make_set) -> None:
    few = np.zeros((4, 5))
    few[:2] = 1  # 10 pixels
    views = [("00001", np.full((4, 5), 2.0), few), ("00001", np.full((4, 5), 8.0), EVERYWHERE)]
    found = judge(constant_baseline(4.0), make_set(views)).mean("headline")
    assert found["abs_rel"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["rmse"] == pytest.approx((2.0 + 4.0) / 2)


def test_scene_means_are_over_the_images_of_the_scene(make_set) -> None:
    views = [(scene, np.full((4, 5), depth), EVERYWHERE) for scene, depth in (("00001", 2), ("00001", 8), ("00002", 5))]
    scenes = judge(constant_baseline(4.0), make_set(views)).scenes("headline")
    assert scenes["00001"]["abs_rel"] == pytest.approx(0.75)
    assert scenes["00002"]["abs_rel"] == pytest.approx(0.2)
    assert [scenes[scene]["images"] for scene in ("00001", "00002")] == [2, 1]


def test_images_with_too_few_pixels_are_skipped_and_counted(make_set) -> None:
    few = np.zeros((4, 5))
    few[0] = 1  # 5 pixels
    views = [("00001", np.full((4, 5), 2.0), few), ("00001", np.full((4, 5), 8.0), EVERYWHERE)]
    evaluation = judge(constant_baseline(4.0), make_set(views))
    assert evaluation.mean("headline")["abs_rel"] == pytest.approx(0.5)
    assert evaluation.summary()["counted"]["headline"] == 1
    assert evaluation.summary()["skipped"]["headline"] == 1
    assert "1 image skipped" in format_evaluation(evaluation)


def test_pixels_beyond_the_cap_count_only_without_it(make_set) -> None:
    depth = np.full((4, 5), 10.0)
    depth[0] = 100
    evaluation = judge(constant_baseline(10.0), make_set([("00001", depth, EVERYWHERE)]))
    assert evaluation.mean("headline")["abs_rel"] == pytest.approx(0.9 / 4)
    assert evaluation.mean("cap80")["abs_rel"] == 0


def test_means_equal_the_sums_that_training_reduces(diode_sets) -> None:
    val, predictor = diode_sets[1], constant_baseline(7.0)
    sums = MetricSums()
    for row in range(len(val)):
        item = DiodeDepthDataset(val)[row]
        prediction = predictor.predict_depth(item["image"][None])
        values, counted = image_metrics(prediction, item["depth"][None], item["valid"][None], PROTOCOLS["headline"])
        sums.add(values, counted, item["weight"][None])
    assert judge(predictor, val).mean("headline") == pytest.approx(sums.mean(), rel=1e-12)


def test_images_of_different_sizes_are_evaluated_as_they_are(make_set, oracle) -> None:
    views = [("00001", np.full((4, 5), 2.0), EVERYWHERE), ("00001", np.full((7, 3), 8.0), np.ones((7, 3)))]
    samples = make_set(views)
    evaluation = judge(oracle(samples), samples)
    assert evaluation.counted("headline") == 2
    assert evaluation.mean("headline")["abs_rel"] == 0


def test_workers_do_not_change_the_result(diode_sets) -> None:
    named = NamedPredictor(predictor=constant_baseline(7.0), name="", fingerprint="")
    alone = evaluate_model(named, diode_sets[1])
    with_workers = evaluate_model(named, diode_sets[1], Computing(num_workers=2))
    pd.testing.assert_frame_equal(alone.table, with_workers.table)


def test_a_subset_is_evaluated_alone(diode_sets) -> None:
    outdoor = ShardSet(diode_sets[1].url, where="scene_type == 'outdoor'")
    evaluation = judge(constant_baseline(7.0), outdoor)
    assert set(evaluation.rows("headline").index) == set(outdoor.index["key"])
    assert evaluation.set.where == "scene_type == 'outdoor'"


def test_a_batch_holds_one_diode_view_of_pixels_and_one_image_if_sizes_differ() -> None:
    assert native_batch(pd.DataFrame({"height": [768, 768], "width": [1024, 1024]})) == 1
    assert native_batch(pd.DataFrame({"height": [192, 192], "width": [256, 256]})) == 16
    assert native_batch(pd.DataFrame({"height": [64, 64], "width": [96, 64]})) == 1


class Broken:
    """Predicts NaN."""

    def predict_depth(self, image: Tensor) -> Tensor:
        return torch.full((len(image), 1, *image.shape[2:]), torch.nan)


def test_a_prediction_that_is_not_finite_stops_with_the_keys(make_set) -> None:
    samples = make_set([("00001", np.full((4, 5), 2.0), EVERYWHERE)])
    with pytest.raises(DataError, match=r"00001_00001_outdoor_000_010.*NaN"):
        judge(Broken(), samples)


def test_depth_of_several_kinds_is_refused(megadepth_set) -> None:
    with pytest.raises(UsageError, match=r"found .* of kind ordinal, \d+ of kind up_to_scale"):
        judge(constant_baseline(1.0), megadepth_set)


def test_a_set_without_valid_depth_is_refused(make_set) -> None:
    with pytest.raises(DataError, match="none of the 1 images"):
        judge(constant_baseline(1.0), make_set([("00001", np.full((4, 5), 2.0), np.zeros((4, 5)))]))


def test_a_kept_evaluation_is_read_back_without_loss(diode_sets, tmp_path: Path) -> None:
    evaluation = judge(constant_baseline(7.0), diode_sets[1])
    evaluation.save(tmp_path / "kept.json")
    loaded = Evaluation.load(tmp_path / "kept.json")
    pd.testing.assert_frame_equal(loaded.table, evaluation.table)
    assert loaded.summary() == evaluation.summary()
    assert json.loads((tmp_path / "kept.json").read_text())["metrics"]["headline"] == evaluation.mean("headline")


def test_a_kept_evaluation_holds_only_for_its_predictor_and_set(diode_sets, tmp_path: Path) -> None:
    train, val = diode_sets
    file = tmp_path / "kept.json"
    judge(constant_baseline(7.0), val).save(file)
    assert load_matching(file, "0" * 64, val, "cpu") is not None
    assert load_matching(file, "1" * 64, val, "cpu") is None
    assert load_matching(file, "0" * 64, train, "cpu") is None
    assert load_matching(file, "0" * 64, ShardSet(val.url, where="scene_type == 'outdoor'"), "cpu") is None
    assert load_matching(file, "0" * 64, val, "cuda (NVIDIA H100 80GB HBM3)") is None
    assert load_matching(tmp_path / "missing.json", "0" * 64, val, "cpu") is None


def test_a_kept_evaluation_of_other_protocols_is_made_again(diode_sets, tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    judge(constant_baseline(7.0), diode_sets[1]).save(file)
    content = json.loads(file.read_text())
    content["protocols"]["headline"]["max_depth"] = 100.0
    file.write_text(json.dumps(content))
    assert load_matching(file, "0" * 64, diode_sets[1], "cpu") is None


def test_a_damaged_evaluation_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("{")
    with pytest.raises(DataError, match=r"kept\.json: expected JSON, found "):
        Evaluation.load(tmp_path / "kept.json")


def test_evaluations_of_subsets_and_checkpoints_are_kept_apart(diode_sets, tmp_path: Path) -> None:
    val = diode_sets[1]
    outdoor = ShardSet(val.url, where="scene_type == 'outdoor'")
    names = {evaluation_file(tmp_path, samples, which).name for samples in (val, outdoor) for which in ("best", "last")}
    assert len(names) == 4
    assert "evaluation-diode-val-best.json" in names


def test_the_same_set_at_another_place_is_the_same_set(diode_sets) -> None:
    info = judge(constant_baseline(7.0), diode_sets[1]).set
    assert replace(info, url="elsewhere", name="other").key == info.key
    assert replace(info, where="scene == '00001'").key != info.key
