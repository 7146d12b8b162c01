import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.evaluation.baselines import (
    Baselines,
    ConstantBaseline,
    DepthHistogram,
    RowBaseline,
    RowMeans,
    fit_baselines,
    load_or_fit,
)

IMAGE = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
EVERYWHERE = np.ones((4, 5))


def median_of(*values: float) -> float:
    histogram = DepthHistogram()
    histogram.add(np.array(values, np.float32))
    return histogram.median()


def test_constant_is_the_median_of_valid_pixels_only(make_set) -> None:
    mask = EVERYWHERE.copy()
    mask[0] = 0  # 5 pixels of 100 m that must not count
    depth = np.full((4, 5), 2.0)
    depth[0], depth[3] = 100, 8
    fitted = fit_baselines(make_set([("00001", depth, mask), ("00001", np.full((4, 5), 8.0), EVERYWHERE)]))
    assert fitted.constant.depth_m == 8.0  # 10 pixels of 2 m, 25 of 8 m
    assert (fitted.num_images, fitted.num_pixels) == (2, 35)


def test_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    assert median_of(1, 2, 5, 100) == 3.5


def test_median_does_not_depend_on_how_the_values_arrive() -> None:
    values = np.random.default_rng(0).lognormal(2, 1, 1001).astype(np.float32)
    histogram = DepthHistogram()
    for part in (values[:3], values[3:3], values[3:]):
        histogram.add(part)
    assert histogram.median() == pytest.approx(median_of(*values.tolist()), rel=1e-12)


@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(0.0625, 1024, width=32)))
def test_median_is_within_one_bin_of_numpys(values: np.ndarray) -> None:
    assert median_of(*values.tolist()) == pytest.approx(float(np.median(values.astype(np.float64))), rel=1 / 4096)


def test_row_baseline_is_exact_where_depth_depends_on_the_row_alone(make_set) -> None:
    rows = np.array([60.0, 20.0, 7.0, 2.5])
    depth = np.repeat(rows[:, None], 5, axis=1)
    baseline = fit_baselines(make_set([("00001", depth, EVERYWHERE)])).row
    assert torch.allclose(baseline.predict_depth(IMAGE), torch.from_numpy(depth).float().expand(2, 1, 4, 5), rtol=1e-6)


def test_row_baseline_is_the_geometric_mean_of_a_row_over_images(make_set) -> None:
    views = [("00001", np.full((4, 5), 2.0), EVERYWHERE), ("00002", np.full((4, 5), 8.0), EVERYWHERE)]
    assert np.allclose(fit_baselines(make_set(views)).row.log_depth, math.log(4.0), atol=1e-12)


def test_row_baseline_ignores_invalid_pixels(make_set) -> None:
    mask, depth = EVERYWHERE.copy(), np.full((4, 5), 3.0)
    mask[:, 1:], depth[:, 1:] = 0, 250
    assert np.allclose(fit_baselines(make_set([("00001", depth, mask)])).row.log_depth, math.log(3.0), atol=1e-7)


def test_a_row_never_seen_valid_takes_the_nearest_that_was() -> None:
    means, valid = RowMeans(5), np.zeros((5, 1), bool)
    valid[[1, 3]] = True
    means.add(np.array([[np.nan], [2.0], [-1.0], [32.0], [0.0]], np.float32), valid)
    assert np.exp(means.means()).tolist() == pytest.approx(
        [2, 2, 2, 32, 32]
    )  # the middle row lies between: the upper one


def test_rows_are_compared_at_relative_height() -> None:
    means = RowMeans(2)
    means.add(np.array([[1.0], [4.0], [9.0], [9.0]], np.float32), np.ones((4, 1), bool))
    assert np.exp(means.means()).tolist() == pytest.approx([2, 9])


def test_profile_is_interpolated_to_other_heights() -> None:
    baseline = RowBaseline(log_depth=(0.0, 1.0))
    assert baseline.profile(4).tolist() == pytest.approx(
        [0.0, 0.25, 0.75, 1.0]
    )  # held beyond the outermost row centres
    assert baseline.profile(2).tolist() == [0.0, 1.0]
    assert baseline.profile(1).tolist() == [0.5]


def test_predictions_have_the_images_shape_and_ignore_its_pixels() -> None:
    noise = torch.randint(0, 256, (2, 3, 7, 9), dtype=torch.uint8)
    for baseline in (ConstantBaseline(depth_m=5.0), RowBaseline(log_depth=(3.0, 1.0, 0.5))):
        depth = baseline.predict_depth(noise)
        assert depth.shape == (2, 1, 7, 9)
        assert depth.dtype == torch.float32
        assert torch.equal(depth, baseline.predict_depth(torch.zeros_like(noise)))


def test_baselines_survive_json_without_loss(diode_sets: tuple[ShardSet, ShardSet], tmp_path: Path) -> None:
    fitted = load_or_fit(diode_sets[0], tmp_path / "kept.json")
    assert Baselines.load(tmp_path / "kept.json") == fitted == fit_baselines(diode_sets[0])


def test_toy_constant_equals_numpys_median_over_all_pixels(diode_sets: tuple[ShardSet, ShardSet]) -> None:
    train = diode_sets[0]
    pixels = np.concatenate([sample.depth[sample.valid] for sample in train.read(range(len(train)))])
    fitted = fit_baselines(train)
    assert fitted.num_pixels == pixels.size
    assert fitted.constant.depth_m == pytest.approx(float(np.median(pixels)), rel=1 / 4096)


def test_kept_baselines_are_reused_only_for_the_same_subset(make_set, tmp_path: Path) -> None:
    kept = tmp_path / "baselines.json"
    views = [("00001", np.full((4, 5), 2.0), EVERYWHERE), ("00002", np.full((4, 5), 8.0), EVERYWHERE)]
    whole = make_set(views)
    load_or_fit(whole, kept)
    edited = json.loads(kept.read_text()) | {"constant_median_m": 77.0}
    kept.write_text(json.dumps(edited))
    assert load_or_fit(whole, kept).constant.depth_m == 77.0  # taken from the file
    subset = ShardSet(whole.url, where="scene == '00002'")
    assert load_or_fit(subset, kept).constant.depth_m == 8.0


def test_a_set_without_valid_depth_is_refused(make_set) -> None:
    with pytest.raises(DataError, match=r"no pixel of the 1 samples"):
        fit_baselines(make_set([("00001", np.full((4, 5), 2.0), np.zeros((4, 5)))]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "expected baselines of format 1, found 99"),
        ({"constant_median_m": -1.0}, r"constant_median_m: expected float > 0.0, found -1.0"),
        ({"constant_median_m": math.inf}, "expected finite baselines"),
        ({"row_mean_log_depth": [1.0, "deep"]}, r'row_mean_log_depth\[1\]: expected float, found "deep"'),
        ({"row_mean_log_depth": []}, "row_mean_log_depth: expected array of length >= 1"),
        ({"num_pixels": 2**70}, "num_pixels: "),
        ({"where": 3}, r"where: expected str \| null, found 3"),
    ],
)
def test_baselines_that_are_none_are_refused_by_field(make_set, tmp_path: Path, change, said) -> None:
    file = tmp_path / "kept.json"
    train = make_set([("00001", np.full((4, 5), 2.0), EVERYWHERE)])
    load_or_fit(train, file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=f"^{file}: {said}"):
        load_or_fit(train, file)
