import math

import numpy as np
import pytest
from loader_bench.reference import nearest_source

from training.loading.warp import Pose, compose_warp


def point_seen(pose, source, size, scale, row, column):
    """The source point (x, y) of an output pixel, step by step, as one would undo the steps on paper."""
    magnification = pose.zoom * scale
    spare = [side * magnification - crop for side, crop in zip(source, size, strict=True)]
    top, left = (
        round(room / 2) if room < 0 else math.floor(place * (math.floor(room) + 1))
        for room, place in zip(spare, (pose.down, pose.across), strict=True)
    )
    x, y = (column + 0.5 + left) / magnification, (row + 0.5 + top) / magnification
    from_middle_x, from_middle_y = x - source[1] / 2, y - source[0] / 2
    angle = math.radians(pose.angle_deg)
    x = source[1] / 2 + from_middle_x * math.cos(angle) - from_middle_y * math.sin(angle)
    y = source[0] / 2 + from_middle_x * math.sin(angle) + from_middle_y * math.cos(angle)
    return (source[1] - x if pose.flip else x), y


def random_case(seed):
    rng = np.random.default_rng(seed)
    pose = Pose(
        angle_deg=rng.uniform(-180, 180),
        zoom=rng.uniform(0.5, 2.5),
        flip=bool(rng.random() < 0.5),
        across=rng.random(),
        down=rng.random(),
    )
    source, size = tuple(rng.integers(5, 20, 2).tolist()), tuple(rng.integers(5, 20, 2).tolist())
    return pose, source, size, float(rng.choice([0.5, 0.7, 1.0, 1.3]))


@pytest.mark.parametrize("seed", range(40))
def test_the_matrix_is_what_undoing_the_steps_one_by_one_gives(seed):
    pose, source, size, scale = random_case(seed)
    warp = compose_warp(pose, source, size, scale)
    for row in range(size[0]):
        for column in range(size[1]):
            x, y, one = warp.matrix @ [column + 0.5, row + 0.5, 1.0]
            assert (x, y) == pytest.approx(point_seen(pose, source, size, scale, row, column), abs=1e-9)
            assert one == 1.0


@pytest.mark.parametrize("seed", range(40))
def test_the_nearest_source_pixel_is_the_one_whose_square_holds_the_point(seed):
    pose, source, size, scale = random_case(seed)
    index = nearest_source(compose_warp(pose, source, size, scale))
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = point_seen(pose, source, size, scale, row, column)
            assert index[row, column].tolist() == [max(math.floor(x), -1), max(math.floor(y), -1)]


def test_no_pose_is_the_identity():
    assert np.array_equal(compose_warp(Pose(), (13, 8), (13, 8)).matrix, np.eye(3))


def test_the_crop_lies_on_whole_pixels_and_reaches_both_ends():
    lefts = [compose_warp(Pose(across=place), (4, 9), (4, 5)).matrix[0, 2] for place in np.linspace(0, 1, 101)]
    assert sorted(set(lefts)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert lefts == sorted(lefts)
    assert 19 <= lefts.count(2.0) <= 21  # each of the five places has a fifth of the range


def test_a_view_smaller_than_the_crop_lies_in_its_middle():
    index = nearest_source(compose_warp(Pose(across=0.9, down=0.1), (2, 4), (6, 8)))
    inside = (index >= 0).all(-1) & (index < [4, 2]).all(-1)
    assert np.argwhere(inside).tolist() == [[i, j] for i in (2, 3) for j in (2, 3, 4, 5)]


def test_points_far_outside_stay_outside_of_every_source():
    index = nearest_source(compose_warp(Pose(zoom=1e-4), (10, 10), (20, 20)))
    assert set(index[0, 0].tolist()) == {-1}
    assert set(index[-1, -1].tolist()) == {32766}
