import pickle
from dataclasses import replace

import numpy as np
import pytest

from sharding.errors import DataError, UsageError
from sharding.format.sample import Sample
from training.loading.augment import PairedAugment, jitter_colour, one_thread_per_worker
from training.loading.warp import Pose

HEIGHT, WIDTH = 48, 60


def noise_scene(seed, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.uniform(0.6, 300, (height, width)).astype(np.float32)
    return Sample(key="noise", image=image, depth=depth, valid=rng.random((height, width)) < 0.7)


def test_doing_nothing_gives_the_sample_back():
    sample = noise_scene(5)
    still = PairedAugment(
        height=HEIGHT, width=WIDTH, max_rotation_deg=0, zoom=(1, 1), flip_prob=0, brightness=0, contrast=0, saturation=0
    )
    result = still(sample, np.random.default_rng(0))
    assert np.array_equal(result.image, sample.image)
    assert np.array_equal(result.depth, np.where(sample.valid, sample.depth, 0))
    assert np.array_equal(result.valid, sample.valid)


def test_the_same_generator_gives_the_same_bits_on_any_number_of_threads():
    augment, sample = PairedAugment(height=200, width=300), noise_scene(8, 300, 400)
    first = augment(sample, np.random.default_rng((0, 1, 2)))
    one_thread_per_worker(0)
    again = pickle.loads(pickle.dumps(augment))(sample, np.random.default_rng((0, 1, 2)))
    for name in ("image", "depth", "valid"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()


def test_another_generator_gives_another_view():
    augment, sample = PairedAugment(height=30, width=40), noise_scene(9)
    views = {augment(sample, np.random.default_rng((0, epoch))).depth.tobytes() for epoch in range(20)}
    assert len(views) == 20


def test_geometry_does_not_depend_on_the_colour_settings():
    sample = noise_scene(10)
    plain = PairedAugment(height=30, width=40, brightness=0, contrast=0, saturation=0)
    vivid = replace(plain, brightness=0.5, contrast=0.5, saturation=0.5)
    results = [augment(sample, np.random.default_rng(1)) for augment in (plain, vivid)]
    assert np.array_equal(results[0].depth, results[1].depth)
    assert np.array_equal(results[0].valid, results[1].valid)
    assert not np.array_equal(results[0].image, results[1].image)


def test_every_setting_takes_the_same_number_of_draws():
    still = PairedAugment(height=9, width=9, max_rotation_deg=0, zoom=(1, 1), flip_prob=0, brightness=0)
    generators = [np.random.default_rng(7) for _ in range(2)]
    for augment, rng in zip((still, PairedAugment(height=30, width=40)), generators, strict=True):
        augment(noise_scene(11), rng)
    assert generators[0].random() == generators[1].random()


def test_poses_stay_within_their_settings_and_fill_them():
    augment, rng = PairedAugment(height=9, width=9, max_rotation_deg=10, zoom=(0.5, 2.0)), np.random.default_rng(0)
    poses = [augment.draw_pose(rng) for _ in range(2000)]
    angles, zooms = np.array([p.angle_deg for p in poses]), np.array([p.zoom for p in poses])
    assert -10 <= angles.min() < -9.9
    assert 9.9 < angles.max() <= 10
    assert 0.5 <= zooms.min() < 0.51
    assert 1.96 < zooms.max() <= 2.0
    assert abs(np.log(zooms).mean()) < 0.05  # as often nearer as farther
    assert 900 < sum(p.flip for p in poses) < 1100


def test_the_poses_of_a_seed_are_these():
    """Options that are added draw nothing of their own, so a recorded run can be repeated."""
    poses = [PairedAugment(height=30, width=40).draw_pose(np.random.default_rng((5, epoch))) for epoch in range(2)]
    assert poses[0] == Pose(
        angle_deg=9.150087712361405, zoom=1.3876224287122056, across=0.2858013800881416, down=0.053930702381656426
    )
    assert poses[1] == Pose(
        angle_deg=8.226125411216435, zoom=1.2102919646820727, across=0.8165376458429717, down=0.537936929104719
    )


def test_the_source_is_never_written_to():
    sample = noise_scene(12)
    for array in (sample.image, sample.depth, sample.valid):
        array.setflags(write=False)
    copies = [array.copy() for array in (sample.image, sample.depth, sample.valid)]
    PairedAugment(height=60, width=40, scale=0.5)(sample, np.random.default_rng(0))
    for array, copy in zip((sample.image, sample.depth, sample.valid), copies, strict=True):
        assert np.array_equal(array, copy)


def test_an_image_without_depth_is_augmented_alone():
    sample = noise_scene(13)
    alone = replace(sample, depth=None, valid=None)
    augment = PairedAugment(height=30, width=40)
    result = augment(alone, np.random.default_rng(0))
    assert result.depth is None
    assert result.valid is None
    assert np.array_equal(result.image, augment(sample, np.random.default_rng(0)).image)


def test_types_and_key_are_kept():
    result = PairedAugment(height=30, width=40)(noise_scene(14), np.random.default_rng(0))
    assert (result.image.dtype, result.depth.dtype, result.valid.dtype) == (np.uint8, np.float32, np.bool_)
    assert (result.image.shape, result.depth.shape, result.valid.shape) == ((30, 40, 3), (30, 40), (30, 40))
    assert result.key == "noise"


@pytest.mark.parametrize("part", ["depth", "valid"])
def test_parts_of_another_size_are_refused_by_key_and_size(part):
    sample = noise_scene(15)
    sample = replace(sample, **{part: getattr(sample, part)[:-1]})
    with pytest.raises(DataError, match=rf"noise.*48 x 60.*{part}.*\(47, 60\)"):
        PairedAugment(height=30, width=40)(sample, np.random.default_rng(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"max_rotation_deg": -1.0},
        {"zoom": (0.0, 1.0)},
        {"zoom": (2.0, 1.0)},
        {"flip_prob": 1.5},
        {"scale": 0.0},
        {"contrast": 1.0},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PairedAugment(**({"height": 8, "width": 8} | wrong))


def test_colour_jitter_follows_its_formula():
    image = noise_scene(16).image
    result = jitter_colour(image, brightness=1.1, contrast=0.8, saturation=0.6)
    luma = image @ np.array([0.299, 0.587, 0.114])
    grey = luma[..., None]
    expected = 1.1 * (0.8 * (0.6 * image + 0.4 * grey) + 0.2 * luma.mean())
    assert np.abs(result - np.clip(expected, 0, 255)).max() <= 1


def test_each_colour_factor_does_what_its_name_says():
    image = noise_scene(17).image
    assert jitter_colour(image) is image
    grey = jitter_colour(image, saturation=0.0).astype(int)
    assert np.ptp(grey, axis=-1).max() <= 1
    assert np.ptp(jitter_colour(image, contrast=0.0)) <= 1
    assert np.abs(jitter_colour(image, brightness=0.5) - image * 0.5).max() <= 1
