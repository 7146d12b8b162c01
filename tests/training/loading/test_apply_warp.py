import math
from dataclasses import replace

import numpy as np
import pytest

from sharding.format.sample import Sample
from training.loading.view import apply_warp, resize_image, warp_image
from training.loading.warp import Pose, compose_warp

HEIGHT, WIDTH = 48, 60


def coordinate_scene(height=HEIGHT, width=WIDTH):
    """Every pixel tells where it is: red = 4 x, green = 4 y at its centre, depth = 1 + its number."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([4 * columns + 2, 4 * rows + 2, np.full_like(rows, 128)], -1).astype(np.uint8)
    depth = (1 + columns + width * rows).astype(np.float32)
    valid = (rows // 3 + columns // 5) % 2 == 0
    return Sample(key="scene", image=image, depth=depth, valid=valid)


def noise_scene(seed, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.uniform(0.6, 300, (height, width)).astype(np.float32)
    return Sample(key="noise", image=image, depth=depth, valid=rng.random((height, width)) < 0.7)


def random_pose(rng, **fixed):
    drawn = {
        "angle_deg": rng.uniform(-180, 180),
        "zoom": rng.uniform(0.7, 2.5),
        "flip": bool(rng.random() < 0.5),
        "across": rng.random(),
        "down": rng.random(),
    }
    return Pose(**(drawn | fixed))


def warped(sample, pose, size, scale=1.0):
    return apply_warp(sample, compose_warp(pose, sample.image.shape[:2], size, scale))


def parts(sample):
    """Image, depth and valid, with depth 0 where it is not valid."""
    return {"image": sample.image, "depth": np.where(sample.valid, sample.depth, 0), "valid": sample.valid}


def source_point(warp, row, column):
    x, y, _ = warp.matrix @ [column + 0.5, row + 0.5, 1.0]
    return float(x), float(y)


def loop_nearest(source, warp, outside):
    """Depth or valid by the plain rule, one pixel after the other."""
    result = np.full((warp.height, warp.width), outside, dtype=source.dtype)
    for row in range(warp.height):
        for column in range(warp.width):
            x, y = source_point(warp, row, column)
            if 0 <= x < source.shape[1] and 0 <= y < source.shape[0]:
                result[row, column] = source[math.floor(y), math.floor(x)]
    return result


def mirror(index, size):
    """Index of the pixel that a mirror through the centres of the border pixels shows."""
    index = abs(index) % (2 * size - 2)
    return min(index, 2 * size - 2 - index)


def loop_bilinear(image, warp):
    """The image by the plain rule, one pixel after the other."""
    height, width = image.shape[:2]
    result = np.zeros((warp.height, warp.width, 3))
    for row in range(warp.height):
        for column in range(warp.width):
            x, y = source_point(warp, row, column)
            left, top = math.floor(x - 0.5), math.floor(y - 0.5)
            across, down = x - 0.5 - left, y - 0.5 - top
            for i, j, weight in (
                (top, left, (1 - down) * (1 - across)),
                (top, left + 1, (1 - down) * across),
                (top + 1, left, down * (1 - across)),
                (top + 1, left + 1, down * across),
            ):
                result[row, column] += weight * image[mirror(i, height), mirror(j, width)]
    return result


@pytest.mark.parametrize("seed", range(30))
def test_depth_and_valid_equal_a_loop_over_pixels(seed):
    rng, sample = np.random.default_rng(seed), noise_scene(seed, 13, 18)
    scale = float(rng.choice([0.5, 1.0, 1.4]))
    warp = compose_warp(random_pose(rng), (13, 18), tuple(rng.integers(6, 25, 2).tolist()), scale)
    result = apply_warp(sample, warp)
    valid = loop_nearest(sample.valid, warp, False)
    assert np.array_equal(result.valid, valid)
    expected = np.where(valid, loop_nearest(sample.depth, warp, 0), np.float32(0))
    assert np.array_equal(result.depth, expected / np.float32(warp.zoom))
    assert result.image.shape == (warp.height, warp.width, 3)


@pytest.mark.parametrize("seed", range(12))
def test_image_equals_a_bilinear_loop_over_pixels(seed):
    rng = np.random.default_rng(seed)
    image = coordinate_scene(13, 18).image
    warp = compose_warp(random_pose(rng, zoom=rng.uniform(1, 2)), (13, 18), (17, 15))
    assert np.abs(warp_image(image, warp) - loop_bilinear(image, warp)).max() <= 1


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.4, 1.5])
@pytest.mark.parametrize("seed", range(6))
def test_image_depth_and_valid_show_the_same_place(scale, seed):
    rng, scene = np.random.default_rng(seed), coordinate_scene()
    pose = random_pose(rng, angle_deg=rng.uniform(-20, 20))
    warp = compose_warp(pose, (HEIGHT, WIDTH), (40, 50), scale)
    result = apply_warp(scene, warp)
    everywhere = apply_warp(replace(scene, valid=np.ones_like(scene.valid)), warp)
    number = np.rint(everywhere.depth * pose.zoom).astype(int) - 1
    row, column = number // WIDTH, number % WIDTH  # where depth says it comes from
    x, y = result.image[..., 0] / 4, result.image[..., 1] / 4  # where the image says it comes from
    reach = 1 + 1 / warp.magnification[0]  # bilinear mixes in the mirrored border up to here
    clear = (number >= 0) & (x > reach) & (x < WIDTH - reach) & (y > reach) & (y < HEIGHT - reach)
    assert clear.sum() > 100
    off_x, off_y = (x - column - 0.5)[clear], (y - row - 0.5)[clear]
    assert max(np.abs(off_x).max(), np.abs(off_y).max()) <= 0.5 + 0.26  # half a pixel, and two roundings of colour
    assert max(abs(off_x.mean()), abs(off_y.mean())) < 0.1  # a shift of half a pixel would show
    assert np.array_equal(result.valid[clear], scene.valid[row, column][clear])


def test_depth_is_never_interpolated():
    for seed in range(20):
        sample, rng = noise_scene(seed), np.random.default_rng(seed)
        pose = random_pose(rng)
        result = warped(sample, pose, (50, 40))
        kept = result.depth[result.valid]
        assert kept.size > 100
        assert np.isin(kept, sample.depth[sample.valid] / np.float32(pose.zoom)).all()


def test_whatever_lies_under_invalid_never_becomes_valid():
    sample, garbage = noise_scene(3), np.random.default_rng(0)
    trash = garbage.choice(np.array([0, -1, np.nan, np.inf, -np.inf, 1e30], np.float32), sample.depth.shape)
    dirty = replace(sample, depth=np.where(sample.valid, sample.depth, trash))
    for seed in range(10):
        pose = random_pose(np.random.default_rng(seed))
        clean, result = warped(sample, pose, (50, 40)), warped(dirty, pose, (50, 40))
        assert np.array_equal(clean.valid, result.valid)
        assert np.array_equal(clean.depth[clean.valid], result.depth[result.valid])


def test_outside_of_the_source_is_invalid_and_the_image_is_mirrored():
    sample = replace(coordinate_scene(4, 6), valid=np.ones((4, 6), bool))
    result = warped(sample, Pose(), (6, 8))
    assert np.array_equal(result.valid, np.pad(sample.valid, 1))
    assert np.array_equal(result.depth, np.pad(sample.depth, 1))
    assert np.array_equal(result.image, np.pad(sample.image, ((1, 1), (1, 1), (0, 0)), mode="reflect"))


def test_a_rotation_makes_the_corners_invalid_but_not_black():
    sample = replace(noise_scene(0), valid=np.ones((HEIGHT, WIDTH), bool))
    sample = replace(sample, image=np.full_like(sample.image, 200))
    result = warped(sample, Pose(angle_deg=15), (HEIGHT, WIDTH))
    corners = [result.valid[i, j] for i in (0, -1) for j in (0, -1)]
    assert corners == [False] * 4
    assert (result.image == 200).all()
    assert result.valid[HEIGHT // 2, WIDTH // 2]


def test_a_flip_is_exact():
    sample = noise_scene(1)
    result = warped(sample, Pose(flip=True), (HEIGHT, WIDTH))
    for name, expected in parts(sample).items():
        assert np.array_equal(getattr(result, name), expected[:, ::-1])


def test_a_crop_is_exact():
    sample = noise_scene(2)
    result = warped(sample, Pose(across=0.0, down=0.999), (20, 30))
    for name, expected in parts(sample).items():
        assert np.array_equal(getattr(result, name), expected[-20:, :30])


def test_a_positive_quarter_turn_is_counter_clockwise_and_exact():
    sample = noise_scene(4, 20, 20)
    result = warped(sample, Pose(angle_deg=90), (20, 20))
    for name, expected in parts(sample).items():
        assert np.array_equal(getattr(result, name), np.rot90(expected))


@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.37, 2.0])
def test_a_plane_seen_at_a_zoom_is_nearer_by_the_zoom(zoom):
    sample = replace(noise_scene(6), depth=np.full((HEIGHT, WIDTH), 12.5, np.float32))
    result = warped(sample, Pose(zoom=zoom, angle_deg=7), (30, 30))
    assert result.valid.any()
    assert (result.depth[result.valid] == np.float32(12.5) / np.float32(zoom)).all()


def test_a_box_keeps_its_width_in_metres_under_zoom():
    depth, valid = np.full((40, 40), 300.0, np.float32), np.ones((40, 40), bool)
    depth[16:24, 15:25] = 8.0  # 10 pixels wide at 8 m
    sample = Sample(key="box", image=np.zeros((40, 40, 3), np.uint8), depth=depth, valid=valid)
    result = warped(sample, Pose(zoom=2.0), (40, 40))
    box = result.depth < 10
    assert set(result.depth[box]) == {4.0}
    assert box.any(0).sum() * 4.0 == 10 * 8.0


def test_scale_changes_the_resolution_but_not_the_depth():
    sample = replace(noise_scene(7), depth=np.full((HEIGHT, WIDTH), 12.5, np.float32))
    result = warped(sample, Pose(), (HEIGHT // 2, WIDTH // 2), scale=0.5)
    assert np.array_equal(result.image, resize_image(sample.image, 0.5))
    assert set(result.depth[result.valid]) == {12.5}


def test_shrinking_averages_and_does_not_alias():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    board = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
    shrunk = resize_image(board, 0.5)
    assert shrunk.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert set(np.unique(shrunk)) <= {127, 128}
    view = warp_image(board, compose_warp(Pose(angle_deg=9), (HEIGHT, WIDTH), (24, 30), 0.5))
    assert set(np.unique(view)) <= {127, 128}


@pytest.mark.parametrize(("scale", "shape"), [(0.5, (24, 30)), (1.0, (48, 60)), (2.0, (96, 120)), (0.001, (1, 1))])
def test_resizing_rounds_each_side(scale, shape):
    image = coordinate_scene().image
    assert resize_image(image, scale).shape == (*shape, 3)
    assert (resize_image(image, 1.0)) is image
