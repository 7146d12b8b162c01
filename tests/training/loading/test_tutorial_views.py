"""The tutorial's rotation, random resized crop and flip as one warp: boxes of torchvision, depth as it is."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from loader_bench.reference import nearest_source
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from sharding.errors import UsageError
from sharding.format.sample import Sample
from training.loading.augment import PairedAugment
from training.loading.view import apply_warp
from training.loading.warp import Pose, compose_warp, place_box

AUGMENT = PairedAugment(
    height=48, width=64, zoom=(1, 1), crop_area=(0.2, 0.9), brightness=0.0, contrast=0.0, saturation=0.0
)
STILL = replace(AUGMENT, max_rotation_deg=0, flip_prob=0)


def scene(height=60, width=90, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.6, 300, (height, width)).astype(np.float32)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(key="noise", image=image, depth=depth, valid=rng.random((height, width)) < 0.7)


@pytest.mark.parametrize("source", [(768, 1024), (300, 300), (90, 400)])
def test_boxes_are_distributed_as_those_of_torchvision(source):
    """Share of the area, aspect ratio, and both offsets; 90 x 400 often leaves no box that fits at once."""
    rng, draws = np.random.default_rng(0), 4000
    ours = np.array([place_box(AUGMENT.draw_pose(rng), source) for _ in range(draws)])
    torch.manual_seed(0)
    blank = torch.empty(3, *source)
    theirs = np.array([RandomResizedCrop.get_params(blank, (0.2, 0.9), (3 / 4, 4 / 3)) for _ in range(draws)])

    def facts(boxes):
        top, left, height, width = boxes.T
        return {"share": height * width, "ratio": width / height, "top": top, "left": left}

    for name, values in facts(ours).items():
        assert stats.ks_2samp(values, facts(theirs)[name]).pvalue > 0.001, name
    assert (ours[:, 0] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= source[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= source[1]).all()


@pytest.mark.parametrize("source", [(20, 500), (500, 20), (31, 40), (41, 31)])
def test_where_no_box_fits_it_is_torchvisions_in_the_middle(source):
    pose = Pose(boxes=((4.0, 1.0),) * 10, across=0.9, down=0.9)  # four times the area
    theirs = RandomResizedCrop.get_params(torch.empty(3, *source), (4.0, 4.0), (3 / 4, 4 / 3))
    assert place_box(pose, source) == theirs


def test_a_view_shows_its_box_stretched_to_the_output_with_the_depth_as_it_was():
    sample, pose = scene(), STILL.draw_pose(np.random.default_rng(3))
    top, left, height, width = place_box(pose, (60, 90))
    view = STILL(sample, np.random.default_rng(3))
    rows = top + np.floor((np.arange(48) + 0.5) * height / 48).astype(int)
    columns = left + np.floor((np.arange(64) + 0.5) * width / 64).astype(int)
    depth = np.where(sample.valid, sample.depth, 0)
    assert np.array_equal(view.depth, depth[np.ix_(rows, columns)])  # not divided by the zoom
    assert np.array_equal(view.valid, sample.valid[np.ix_(rows, columns)])
    assert view.image.shape == (48, 64, 3)


def test_rotation_comes_before_the_crop_and_what_it_uncovers_is_invalid():
    """A pixel of the output, step by step: out of the box, back by the angle, out of the mirror."""
    pose = Pose(angle_deg=14, flip=True, across=0.1, down=0.8, boxes=((0.85, 1.3),))
    top, left, height, width = place_box(pose, (60, 90))
    index = nearest_source(compose_warp(pose, (60, 90), (48, 64)))
    angle, outside = math.radians(14), 0
    for row in range(48):
        for column in range(64):
            x, y = left + (column + 0.5) * width / 64 - 45, top + (row + 0.5) * height / 48 - 30
            back = 45 + x * math.cos(angle) - y * math.sin(angle), 30 + x * math.sin(angle) + y * math.cos(angle)
            seen = math.floor(90 - back[0]), math.floor(back[1])
            inside = 0 <= seen[0] < 90 and 0 <= seen[1] < 60
            assert not inside or index[row, column].tolist() == list(seen)
            outside += not inside
    sample = replace(scene(), valid=np.ones((60, 90), bool))
    view = apply_warp(sample, compose_warp(pose, (60, 90), (48, 64)))
    assert int((~view.valid).sum()) == outside > 50
    assert (view.depth[~view.valid] == 0).all()
    assert np.isin(view.depth[view.valid], sample.depth).all()


def test_the_photo_is_stretched_along_each_axis_by_its_own_factor():
    """A photo whose colour is its place shows the place of every pixel, where it shrinks along one axis alone, too."""
    height, width = 120, 200
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    pose = Pose(across=0.3, down=0.6, boxes=((0.4, 0.5),))
    top, left, box_height, box_width = place_box(pose, (height, width))
    for size in ((24, 150), (150, 24), (40, 40)):
        view = apply_warp(Sample(key="a", image=image), compose_warp(pose, (height, width), size)).image.astype(float)
        x = left + (np.arange(size[1]) + 0.5) * box_width / size[1] - 0.5
        y = top + (np.arange(size[0]) + 0.5) * box_height / size[0] - 0.5
        inside = np.ix_((y > 2) & (y < height - 3), (x > 2) & (x < width - 3))
        assert np.abs(view[..., 0] - x[None])[inside].max() < 1.1
        assert np.abs(view[..., 1] - y[:, None])[inside].max() < 1.1


def test_a_view_takes_the_same_number_of_draws_whatever_fits():
    generators = [np.random.default_rng(7) for _ in range(3)]
    for source, rng in zip([(60, 90), (20, 400), (400, 20)], generators, strict=True):
        AUGMENT(scene(*source), rng)
    assert len({rng.random() for rng in generators}) == 1


def test_scale_does_not_change_a_view_whose_crop_is_stretched():
    sample = scene()
    views = [replace(AUGMENT, scale=scale)(sample, np.random.default_rng(1)) for scale in (1.0, 0.5)]
    assert np.array_equal(views[0].image, views[1].image)
    assert np.array_equal(views[0].depth, views[1].depth)


@pytest.mark.parametrize("wrong", [{"crop_area": (0.0, 0.5)}, {"crop_area": (0.5, 0.4)}, {"crop_area": (0.5, 1.1)}])
def test_an_impossible_crop_is_refused(wrong):
    with pytest.raises(UsageError, match="crop_area"):
        replace(AUGMENT, **wrong)


def test_a_crop_with_a_zoom_of_its_own_takes_no_other():
    with pytest.raises(UsageError, match="zoom must be"):
        replace(AUGMENT, zoom=(1.0, 1.5))
