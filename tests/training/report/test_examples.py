import io

import numpy as np
from PIL import Image

from sharding.format.sample import Sample
from sharding.reading.pictures import colorize_depth
from training.report.examples import (
    THUMBNAIL_SIDE_PX,
    Choice,
    Shown,
    build_gallery,
    choose_examples,
)


def decode(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_each_scene_shows_its_median_image_and_the_five_worst_of_all_are_added(fabricate) -> None:
    values = {"1_a": 0.1, "1_b": 0.2, "1_c": 0.9, "2_a": 0.5, "2_b": 0.4, "2_c": 0.3, "3_a": 0.05, "3_b": 0.06}
    choices = choose_examples([fabricate("arm", values)])
    assert [choice.key for choice in choices] == ["1_b", "2_b", "3_a", "1_c", "2_a", "2_c"]
    assert [choice.scene for choice in choices] == ["1", "2", "3", "1", "2", "2"]
    ranks = {choice.key: choice.reason for choice in choices}
    assert "number 1 of the worst" in ranks["1_c"]
    assert "median" in ranks["2_b"]
    assert "number 3 of the worst" in ranks["2_b"]  # both
    assert "number 5 of the worst" in ranks["1_b"]
    assert "worst" not in ranks["3_a"]


def test_difficulty_is_the_mean_over_all_runs(fabricate) -> None:
    first = fabricate("first", {"1_a": 0.1, "1_b": 0.2, "1_c": 0.3})
    second = fabricate("second", {"1_a": 0.7, "1_b": 0.1, "1_c": 0.3})
    assert [choice.key for choice in choose_examples([first, second], worst=1)] == ["1_c", "1_a"]


def test_of_many_scenes_evenly_spaced_ones_are_shown(fabricate) -> None:
    values = {f"{scene}_a": 0.1 for scene in range(10, 31)}
    assert [choice.scene for choice in choose_examples([fabricate("arm", values)])][:4] == ["10", "17", "23", "30"]


def test_one_depth_scale_is_shared_by_truth_and_predictions() -> None:
    depth = np.geomspace(2, 50, 12).reshape(3, 4).astype(np.float32)
    sample = Sample(key="1_a", image=np.zeros((3, 4, 3), np.uint8), depth=depth, valid=np.ones((3, 4), bool))
    shown = Shown(name="arm", values={"1_a": 0.25}, depths={"1_a": depth})
    choice = Choice(key="1_a", scene="1", reason="")
    gallery = build_gallery([choice], {"1_a": sample}, [shown])
    panel = gallery.examples[0].panels[0]
    assert np.array_equal(decode(panel.depth_png), decode(gallery.examples[0].truth_png))
    assert np.array_equal(decode(panel.depth_png), colorize_depth(depth, sample.valid, gallery.near_m, gallery.far_m))
    assert np.all(decode(panel.error_png) == 247)
    assert panel.value == 0.25
    assert 2 <= gallery.near_m < gallery.far_m <= 50


def test_large_maps_are_thinned_not_interpolated() -> None:
    height, width = 30, 2 * THUMBNAIL_SIDE_PX
    depth = np.where(np.arange(width) % 3 == 0, np.float32(2), np.float32(100)) * np.ones((height, 1), np.float32)
    sample = Sample(key="1_a", image=np.zeros((height, width, 3), np.uint8), depth=depth, valid=depth > 0)
    shown = Shown(name="arm", values={"1_a": 0.0}, depths={"1_a": depth})
    example = build_gallery([Choice(key="1_a", scene="1", reason="")], {"1_a": sample}, [shown]).examples[0]
    truth = decode(example.truth_png)
    assert truth.shape[1] <= THUMBNAIL_SIDE_PX
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) == 2
    assert decode(example.image_png).shape == truth.shape
