import numpy as np
import pytest
from loader_bench.reference import reference_view

from sharding.errors import DataError
from sharding.format.sample import Sample
from training.loading import view
from training.loading.augment import PairedAugment, jitter_colour
from training.loading.view import ViewArrays, apply_warp, fill_view
from training.loading.warp import Pose, compose_warp


def photo_scene(seed, height, width):
    """An image with texture of a few pixels, whose neighbours are similar, and depth that names its pixel, or is 0."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [rng.uniform(0.02, 0.4, 3) @ np.stack([rows, columns, np.ones_like(rows)], 1) for _ in range(3)]
    image = np.stack([127 + 100 * np.sin(wave) for wave in waves], -1).round().astype(np.uint8)
    valid = rng.random((height, width)) < 0.7
    depth = np.where(valid, 1 + columns + width * rows, 0).astype(np.float32)
    return Sample(key="photo", image=image, depth=depth, valid=valid)


def filled(sample, warp):
    into = ViewArrays.empty(warp.height, warp.width)
    for array in (into.image, into.depth, into.valid):
        array.view(np.uint8)[:] = 0xA5  # what was there before must not be seen
    fill_view(sample, warp, into)
    return into


def wrong_neighbours(depth, expected):
    return np.mean(depth != expected)


@pytest.mark.parametrize(
    ("source", "size", "scale"),
    [
        ((384, 512), (384, 384), 1.0),
        ((384, 512), (192, 192), 0.5),
        ((700, 300), (256, 320), 0.8),
        ((90, 1500), (80, 1400), 1.0),
    ],
)
@pytest.mark.parametrize("zoom", [(1.0, 1.5), (0.6, 0.9)])
def test_a_view_is_that_of_the_plain_version(source, size, scale, zoom):
    augment = PairedAugment(height=size[0], width=size[1], scale=scale, zoom=zoom)
    for seed in range(4):
        sample = photo_scene(seed, *source)
        warp, _ = augment.draw(source, np.random.default_rng(seed))
        found, expected = filled(sample, warp), reference_view(sample, warp)
        assert np.abs(found.image.transpose(1, 2, 0).astype(int) - expected.image).max() <= 1
        assert wrong_neighbours(found.depth, expected.depth) <= 1e-4
        assert np.array_equal(found.valid, found.depth > 0)
        assert np.isin(found.depth[found.valid], sample.depth[sample.valid] / np.float32(warp.zoom)).all()


@pytest.mark.parametrize("scale", [0.5, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_a_view_that_does_not_turn_is_exact_also_where_a_point_lies_between_two_pixels(scale, flip):
    sample = photo_scene(1, 96, 128)
    warp = compose_warp(Pose(flip=flip, across=0.3, down=0.8), (96, 128), (48, 56), scale)
    found, expected = filled(sample, warp), reference_view(sample, warp)
    assert np.array_equal(found.depth, expected.depth)
    assert np.array_equal(found.valid, expected.valid)


def test_a_large_view_is_taken_in_tiles_without_a_seam(monkeypatch):
    sample = photo_scene(2, 200, 260)
    warp = compose_warp(Pose(angle_deg=11, zoom=1.3), (200, 260), (190, 250))
    whole = filled(sample, warp)
    monkeypatch.setattr(view, "TILE_PX", 64)
    tiled = filled(sample, warp)
    assert wrong_neighbours(tiled.depth, whole.depth) <= 1e-4
    assert np.array_equal(tiled.image, whole.image)


def test_coordinates_of_a_large_source_are_precise():
    sample = photo_scene(3, 40, 9000)
    warp = compose_warp(Pose(angle_deg=0.3, across=0.99), (40, 9000), (40, 4000))
    assert wrong_neighbours(filled(sample, warp).depth, reference_view(sample, warp).depth) <= 1e-4


@pytest.mark.slow
def test_a_large_source_that_shrinks_is_precise():
    sample = photo_scene(5, 2400, 3200)
    warp = compose_warp(Pose(angle_deg=7.3, zoom=1.0), (2400, 3200), (300, 400), 0.125)
    assert wrong_neighbours(filled(sample, warp).depth, reference_view(sample, warp).depth) <= 1e-4


def test_a_view_beyond_the_source_has_no_depth():
    sample = photo_scene(4, 20, 30)
    warp = compose_warp(Pose(angle_deg=44), (20, 30), (200, 200))
    found, expected = filled(sample, warp), reference_view(sample, warp)
    assert np.array_equal(found.depth, expected.depth)
    assert 0 < found.valid.sum() < 600


def test_an_augmented_view_is_written_as_it_is_returned():
    augment, sample = PairedAugment(height=40, width=50), photo_scene(5, 60, 80)
    into = ViewArrays.empty(40, 50)
    colour = augment.fill(sample, np.random.default_rng(7), into)
    returned = augment(sample, np.random.default_rng(7))
    assert np.array_equal(jitter_colour(np.ascontiguousarray(into.image.transpose(1, 2, 0)), *colour), returned.image)
    assert np.array_equal(into.depth, returned.depth)
    assert np.array_equal(into.valid, returned.valid)


def test_a_view_of_a_sample_without_depth_is_an_image():
    image = photo_scene(6, 20, 30).image
    warp = compose_warp(Pose(angle_deg=3), (20, 30), (10, 12))
    found = apply_warp(Sample(key="a", image=image), warp)
    assert found.image.shape == (10, 12, 3)
    assert found.depth is None
    with pytest.raises(DataError, match="expected depth and valid"):
        fill_view(Sample(key="a", image=image), warp, ViewArrays.empty(10, 12))
