import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.baselines.depth_sums import MAX_ROWS
from training.baselines.fitted import Baselines, RowBaseline, constant_baseline, fit_baselines, load_or_fit
from training.metrics.protocols import METRICS

IMAGE = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
EVERYWHERE = np.ones((4, 5))
TWO_AND_EIGHT = [("00001", np.full((4, 5), 2.0), EVERYWHERE), ("00002", np.full((4, 5), 8.0), EVERYWHERE)]


def test_there_is_a_predictor_for_each_metric_and_they_differ(make_set) -> None:
    """Of the depths 2 m and 8 m, one image each."""
    fitted = fit_baselines(make_set(TWO_AND_EIGHT))
    found = {metric: one.depth_m[0] for metric, one in fitted.constant.items()}
    assert tuple(found) == METRICS
    assert found["abs_rel"] == 2.0  # weight 1/2 against 1/8
    assert found["sq_rel"] == pytest.approx(3.2)  # the harmonic mean
    assert found["log10"] == found["mae"] == found["silog"] == 5.0  # any between is as good
    assert found["delta1"] in (2.0, 8.0)


def test_pixels_under_the_mask_do_not_count(make_set) -> None:
    mask, depth = EVERYWHERE.copy(), np.full((4, 5), 3.0)
    mask[:, 1:3], depth[:, 1:3] = 0, 250
    fitted = fit_baselines(make_set([("00001", depth, mask)]))
    assert [one.depth_m[0] for one in fitted.constant.values()] == pytest.approx([3.0] * 10)
    assert (fitted.num_images, fitted.num_pixels) == (1, 12)


def test_the_row_baseline_is_exact_where_depth_depends_on_the_row_alone(make_set) -> None:
    depth = np.repeat(np.array([[60.0], [20.0], [7.0], [2.5]]), 5, axis=1)
    for metric, one in fit_baselines(make_set([("00001", depth, EVERYWHERE)])).row.items():
        predicted, scale = one.predict_depth(IMAGE), 1.0
        if metric.startswith("delta"):
            continue  # any depth within a factor is as good
        assert torch.allclose(predicted * scale, torch.from_numpy(depth).float().expand(2, 1, 4, 5), rtol=1e-5)


def test_a_profile_has_the_height_of_most_images_but_a_limited_one(make_set) -> None:
    views = [("00001", np.full((height, 5), 2.0), np.ones((height, 5))) for height in (4, 6, 6)]
    assert len(fit_baselines(make_set(views)).row["log10"].depth_m) == 6
    tall = [("00001", np.full((2 * MAX_ROWS, 2), 2.0), np.ones((2 * MAX_ROWS, 2)))]
    assert len(fit_baselines(make_set(tall)).row["log10"].depth_m) == MAX_ROWS


def test_a_profile_is_held_by_relative_height() -> None:
    baseline = RowBaseline(depth_m=(8.0, 2.0))
    assert baseline.profile(4).tolist() == [8, 8, 2, 2]
    assert baseline.profile(3).tolist() == [8, 2, 2]
    assert baseline.profile(1).tolist() == [2.0]


def test_predictions_have_the_images_shape_and_ignore_its_pixels() -> None:
    noise = torch.randint(0, 256, (2, 3, 7, 9), dtype=torch.uint8)
    for baseline in (constant_baseline(5.0), RowBaseline(depth_m=(20.0, 3.0, 1.5))):
        depth = baseline.predict_depth(noise)
        assert depth.shape == (2, 1, 7, 9)
        assert depth.dtype == torch.float32
        assert torch.equal(depth, baseline.predict_depth(torch.zeros_like(noise)))


def test_baselines_survive_json_without_loss(diode_sets: tuple[ShardSet, ShardSet], tmp_path: Path) -> None:
    fitted = load_or_fit(diode_sets[0], tmp_path / "kept.json")
    assert Baselines.load(tmp_path / "kept.json") == fitted == fit_baselines(diode_sets[0])
    assert fitted.fingerprint == Baselines.load(tmp_path / "kept.json").fingerprint


def test_the_toy_constants_are_those_of_all_its_pixels(diode_sets: tuple[ShardSet, ShardSet]) -> None:
    """A plain version over all pixels at once, each weighted by its image."""
    images = [one.depth[one.valid].astype(np.float64) for one in diode_sets[0].read(range(len(diode_sets[0])))]
    depth = np.concatenate(images)
    weight = np.concatenate([np.full(len(one), 1 / len(one)) for one in images])

    def median(weights: np.ndarray) -> float:
        order = np.argsort(depth)
        ends = np.cumsum(weights[order])
        return float(depth[order][np.searchsorted(ends, ends[-1] / 2)])

    fitted = fit_baselines(diode_sets[0])
    assert fitted.num_pixels == depth.size
    assert fitted.constant["log10"].depth_m[0] == pytest.approx(median(weight), rel=1e-3)
    assert fitted.constant["abs_rel"].depth_m[0] == pytest.approx(median(weight / depth), rel=1e-3)
    assert fitted.constant["sq_rel"].depth_m[0] == pytest.approx(weight.sum() / (weight / depth).sum(), rel=1e-5)


def test_kept_baselines_are_reused_only_for_the_same_subset(make_set, tmp_path: Path) -> None:
    kept, whole = tmp_path / "baselines.json", make_set(TWO_AND_EIGHT)
    load_or_fit(whole, kept)
    edited = json.loads(kept.read_text())
    edited["constant"]["log10"] = [77.0]
    kept.write_text(json.dumps(edited))
    assert load_or_fit(whole, kept).constant["log10"].depth_m == (77.0,)  # taken from the file
    subset = ShardSet(whole.url, where="scene == '00002'")
    assert load_or_fit(subset, kept).constant["log10"].depth_m == (8.0,)


def test_baselines_of_an_earlier_version_are_computed_again(make_set, tmp_path: Path) -> None:
    kept, whole = tmp_path / "baselines.json", make_set(TWO_AND_EIGHT)
    old = {"format": 1, "identity": whole.manifest.identity, "where": None, "num_images": 2, "num_pixels": 40}
    kept.write_text(json.dumps(old | {"constant_median_m": 5.0, "row_mean_log_depth": [1.0]}))
    assert load_or_fit(whole, kept) == Baselines.load(kept) == fit_baselines(whole)


def test_a_set_without_depth_that_counts_is_refused(make_set) -> None:
    with pytest.raises(DataError, match=r"none of the 1 images"):
        fit_baselines(make_set([("00001", np.full((4, 5), 0.4), EVERYWHERE)]))
    with pytest.raises(UsageError, match="no sample has a valid pixel"):
        fit_baselines(make_set([("00001", np.full((4, 5), 2.0), 0 * EVERYWHERE)]))


def test_depth_up_to_scale_has_no_baseline_in_metres(megadepth_set) -> None:
    with pytest.raises(UsageError, match="of kind ordinal"):
        fit_baselines(megadepth_set)
    with pytest.raises(UsageError, match="up to scale"):
        fit_baselines(ShardSet(megadepth_set.url, where="kind == 'up_to_scale'"))


def without(name: str, metric: str):
    return lambda content: content[name].pop(metric)


def with_value(name: str, metric: str, value: object):
    return lambda content: content[name].update({metric: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(format=99), "expected baselines of format 2, found 99"),
        (with_value("constant", "mae", [-1.0]), r"constant\[...\]\[0\]: expected float > 0.0"),
        (with_value("constant", "mae", [math.inf]), "constant: expected finite depths"),
        (with_value("row", "rmse", [1.0, "deep"]), r"row\[...\]\[1\]: expected float"),
        (with_value("row", "rmse", []), r"row\[...\]: expected array of length >= 1"),
        (without("row", "silog"), "row: expected an entry for each of abs_rel, "),
        (lambda content: content.update(num_pixels=2**70), "num_pixels: "),
        (lambda content: content.update(where=3), r"where: expected str \| null, found 3"),
    ],
)
def test_baselines_that_are_none_are_refused_by_field(make_set, tmp_path: Path, change, said) -> None:
    file, train = tmp_path / "kept.json", make_set(TWO_AND_EIGHT)
    load_or_fit(train, file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"^{file}: {said}"):
        load_or_fit(train, file)
