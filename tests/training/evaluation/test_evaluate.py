import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.baselines.fitted import constant_baseline
from training.evaluation.evaluate import (
    Computing,
    NamedPredictor,
    Predictor,
    evaluate_model,
    evaluation_file,
    load_predictor,
)
from training.evaluation.evaluation_text import format_evaluation
from training.evaluation.native_size import native_batch
from training.evaluation.results import Evaluation, load_matching
from training.loading.dataset import DiodeDepthDataset
from training.metrics.image_metrics import MetricSums, image_metrics
from training.metrics.protocols import CHOICES, METRICS, PROTOCOLS

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


def test_a_set_without_depth_that_counts_is_refused(make_set) -> None:
    with pytest.raises(DataError, match="none of the 1 images"):
        judge(constant_baseline(1.0), make_set([("00001", np.full((4, 5), 0.4), EVERYWHERE)]))
    with pytest.raises(UsageError, match="no sample has a valid pixel"):
        judge(constant_baseline(1.0), make_set([("00001", np.full((4, 5), 2.0), 0 * EVERYWHERE)]))


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


class Reader:
    """Predicts something that depends on the image."""

    def predict_depth(self, image: Tensor) -> Tensor:
        return 0.5 + image.float().mean(1, keepdim=True) / 10


def sources(tree: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and stored depth of each validation view, read from the files of the data set: no mask."""
    found = {}
    for file in sorted(tree.glob("val/*/*/*/[0-9]*.png")):
        image = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None]
        depth = np.load(f"{file.with_suffix('')}_depth.npy")[..., 0].astype(np.float64)
        found[file.stem] = Reader().predict_depth(image)[0, 0].numpy().astype(np.float64), depth
    return found


def test_devkit_reads_the_depth_under_the_mask(diode_tree: Path, diode_sets) -> None:
    val = diode_sets[1]
    named = NamedPredictor(predictor=Reader(), name="", fingerprint="")
    evaluation = evaluate_model(named, val, choice="devkit")
    plain = {}
    for key, (p, g) in sources(diode_tree).items():
        with np.errstate(invalid="ignore"):
            chosen = g > 0
        p, g = p[chosen], g[chosen]
        plain[key] = np.abs(p - g).mean(), np.sqrt(np.mean((np.log10(p) - np.log10(g)) ** 2))
    assert set(plain) == set(val.index["key"])
    assert evaluation.mean("devkit")["mae"] == pytest.approx(np.mean([mae for mae, _ in plain.values()]), rel=1e-12)
    assert evaluation.mean("devkit")["log_rmse"] == pytest.approx(np.mean([e for _, e in plain.values()]), rel=1e-12)
    assert list(evaluation.mean("devkit")) == [
        *("mae", "rmse", "abs_rel", "log_mae", "log_rmse", "delta1", "delta2", "delta3"),
    ]
    masked = [np.abs(p - g)[one.valid].mean() for one, (p, g) in zip_samples(val, sources(diode_tree))]
    assert evaluation.mean("devkit")["mae"] != pytest.approx(np.mean(masked), rel=1e-5)  # there is depth under it


def zip_samples(val: ShardSet, by_key: dict[str, tuple[np.ndarray, np.ndarray]]):
    return [(sample, by_key[sample.key]) for sample in val.read(range(len(val)))]


def test_zoe_has_its_own_names(diode_sets) -> None:
    named = NamedPredictor(predictor=Reader(), name="", fingerprint="")
    evaluation = evaluate_model(named, diode_sets[1], choice="zoe80garg")
    assert list(evaluation.mean("zoe80garg")) == [
        *("a1", "a2", "a3", "abs_rel", "rmse", "log_10", "rmse_log", "silog", "sq_rel"),
    ]
    assert evaluation.summary()["protocol"] == "zoe80garg"
    assert "within the crop of Garg et al." in evaluation.summary()["definitions"]["zoe80garg"]
    assert "log_10" in format_evaluation(evaluation)


def test_rows_by_scene_scan_and_scene_type_are_means_over_their_images(diode_sets) -> None:
    val = diode_sets[1]
    evaluation = judge(constant_baseline(7.0), val)
    rows = evaluation.rows("headline")
    for groups, names in (
        (evaluation.scenes("headline"), val.index["scene"]),
        (evaluation.scans("headline"), val.index["scene"] + "/" + val.index["scan"]),
        (evaluation.scene_types("headline"), val.index["scene_type"]),
    ):
        assert set(groups) == set(names)
        for name, group in groups.items():
            keys = val.index["key"][names == name]
            assert group["images"] == len(keys)
            assert group["log10"] == pytest.approx(rows.loc[keys, "log10"].mean())
    text = format_evaluation(evaluation)
    assert all(f"\n{name} " in text for name in ("indoors", "outdoor", "00022", *evaluation.scans("headline")))
    assert "protocol ours:" in text


def test_many_scans_are_in_the_data_alone(make_set) -> None:
    views = [(f"{scene:05d}", np.full((4, 5), 2.0), EVERYWHERE) for scene in range(1, 22)]
    evaluation = judge(constant_baseline(7.0), make_set(views))
    assert len(evaluation.summary()["scans"]["headline"]) == 21
    assert "00007/00001" not in format_evaluation(evaluation)


def test_depth_up_to_scale_gives_median_scaled_metrics_without_metres(megadepth_set) -> None:
    relative = ShardSet(megadepth_set.url, where="kind == 'up_to_scale'")
    evaluation = judge(Reader(), relative)
    assert list(evaluation.summary()["metrics"]) == ["median_scaled"]
    assert list(evaluation.mean("median_scaled")) == [
        *("abs_rel", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3"),
    ]
    assert evaluation.primary == "median_scaled"
    text = format_evaluation(evaluation)
    assert "All truth counts" in text
    assert not any(word in text for word in ("rmse ", "Headline", " m counts"))


def test_a_network_up_to_scale_is_not_judged_in_metres(diode_sets, oracle) -> None:
    named = NamedPredictor(predictor=oracle(diode_sets[1], 100.0), name="", fingerprint="", depth_kind="up_to_scale")
    evaluation = evaluate_model(named, diode_sets[1])
    assert list(evaluation.protocols) == ["median_scaled"]
    assert evaluation.mean("median_scaled")["abs_rel"] == pytest.approx(0, abs=1e-6)


def test_views_without_a_valid_pixel_are_skipped_and_said(make_set) -> None:
    views = [("00001", np.full((4, 5), 2.0), 0 * EVERYWHERE), ("00001", np.full((4, 5), 8.0), EVERYWHERE)]
    evaluation = judge(constant_baseline(4.0), make_set(views))
    assert evaluation.set.without_depth == 1
    assert format_evaluation(evaluation).endswith(
        "1 image skipped for too few valid pixels, 1 of them without a valid pixel"
    )


def test_evaluations_of_other_protocols_are_kept_apart(diode_sets, tmp_path: Path) -> None:
    val = diode_sets[1]
    choices = ("ours", "devkit", "zoe80garg")
    assert len({evaluation_file(tmp_path, val, "last", choice) for choice in choices}) == 3
    named = NamedPredictor(predictor=Reader(), name="", fingerprint="0" * 64)
    evaluation = evaluate_model(named, val, choice="devkit")
    evaluation.save(tmp_path / "kept.json")
    assert Evaluation.load(tmp_path / "kept.json").summary() == evaluation.summary()
    assert load_matching(tmp_path / "kept.json", "0" * 64, val, "cpu") is None
    found = load_matching(tmp_path / "kept.json", "0" * 64, val, "cpu", CHOICES["devkit"])
    assert found is not None
    pd.testing.assert_frame_equal(found.table, evaluation.table)


def test_what_a_run_predicts_is_read_from_its_checkpoint(make_run, diode_sets, tmp_path: Path) -> None:
    file = make_run("arm", 3.0, *diode_sets) / "checkpoints/last.ckpt"
    content = torch.load(file, weights_only=True)
    for kind in ("metric", "up_to_scale"):
        torch.save(content | {"hyper_parameters": content["hyper_parameters"] | {"depth_kind": kind}}, file)
        assert load_predictor(file, "arm", torch.device("cpu")).depth_kind == kind


def test_workers_without_room_for_their_batches_are_refused(diode_sets, shared_memory) -> None:
    named = NamedPredictor(predictor=constant_baseline(7.0), name="", fingerprint="")
    shared_memory(100_000)
    with pytest.raises(UsageError, match=r"1 batch of 0\.4 MB for images at native size.* or give --num-workers 0$"):
        evaluate_model(named, diode_sets[1], Computing(num_workers=2))


def test_a_worker_that_finds_no_room_is_named_in_a_line(diode_sets, monkeypatch) -> None:
    def fail(tensor: Tensor) -> Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: Success (0)")

    whole = Tensor.share_memory_
    # The index fits, a batch does not.
    monkeypatch.setattr(
        Tensor, "share_memory_", lambda tensor: (fail if tensor.nbytes > 300_000 else whole)(tensor), raising=True
    )
    named = NamedPredictor(predictor=constant_baseline(7.0), name="", fingerprint="")
    with pytest.raises(DataError, match=r"^loader worker 0: no room for 0\.4 MB in the shared memory, [^\n]*$"):
        evaluate_model(named, diode_sets[1], Computing(num_workers=1))
