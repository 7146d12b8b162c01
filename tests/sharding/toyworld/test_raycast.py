"""Depth against closed forms and values worked out by hand."""

import dataclasses

import numpy as np
import pytest

from sharding.toyworld import Camera, Shape, Solid, open_ground, plane_depth, render, stack_solids
from sharding.toyworld.diode import place_view, plan_view
from sharding.toyworld.raycast import (
    BACKDROP,
    FIRST_SOLID,
    camera_rays,
    cast,
    enter_solid,
    focal_px,
    ground_depth,
    make_lines,
)
from sharding.toyworld.room import make_room
from sharding.toyworld.scene import Room

HEIGHT, WIDTH = 48, 72
FOCAL = 0.8660254037844386 * WIDTH
Y = ((np.arange(HEIGHT) + 0.5 - HEIGHT / 2) / FOCAL)[:, None]
X = ((np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL)[None, :]


def scene_with(*solids, **light):
    scene = open_ground()
    return dataclasses.replace(scene, solids=stack_solids(solids), light=dataclasses.replace(scene.light, **light))


def cast_depth(scene, camera, height=HEIGHT, width=WIDTH):
    return cast(scene, camera_rays(camera, height, width)).depth


def expect_plane(fall, height_m):
    depth = np.where(fall > 0, height_m / np.where(fall > 0, fall, 1), np.inf)
    return np.where(depth <= 300, depth, 0).astype(np.float32)


def test_focal_length_is_that_of_diode():
    assert focal_px(768, 1024) == pytest.approx(886.81, abs=0.01)
    assert focal_px(1024, 768) == focal_px(768, 1024)


@pytest.mark.parametrize("pitch_deg", [-11.0, 0.0, 7.0])
def test_ground_depth_is_height_over_fall(pitch_deg):
    pitch = np.deg2rad(pitch_deg)
    fall = np.broadcast_to(Y * np.cos(pitch) - np.sin(pitch), (HEIGHT, WIDTH))
    found = plane_depth(Camera(height_m=2.0, pitch_deg=pitch_deg, yaw_deg=77), HEIGHT, WIDTH)
    np.testing.assert_allclose(found, expect_plane(fall, 2.0), rtol=1e-6)


def test_roll_tilts_the_ground():
    roll = np.deg2rad(10.0)
    found = plane_depth(Camera(height_m=3.0, roll_deg=10.0), HEIGHT, WIDTH)
    np.testing.assert_allclose(found, expect_plane(X * np.sin(roll) + Y * np.cos(roll), 3.0), rtol=1e-6)
    assert np.count_nonzero(found[:, 0]) < np.count_nonzero(found[:, -1])


def test_open_ground_renders_to_the_plane():
    camera = Camera(x_m=5, y_m=-7, height_m=4.0, yaw_deg=30, pitch_deg=-3, roll_deg=-8)
    view = render(open_ground(), camera, HEIGHT, WIDTH)
    np.testing.assert_array_equal(view.depth, plane_depth(camera, HEIGHT, WIDTH))


def test_no_return_from_the_sky_and_beyond_the_range():
    camera = Camera(height_m=2.0)
    view = render(open_ground(), camera, 768, 64)
    distance = ground_depth(camera_rays(camera, 768, 64))
    np.testing.assert_array_equal(view.valid, distance <= 300)
    assert (np.isfinite(distance) & ~view.valid).any()
    assert not view.depth[~view.valid].any()
    assert view.depth[view.valid].min() > 0


def test_wall_has_one_planar_depth_and_covers_its_silhouette():
    camera = Camera(height_m=1.5)
    depth = cast_depth(scene_with(Solid(centre=(0, 10.5, 2), half=(1, 0.5, 2))), camera)
    covered = (np.abs(X * 10) < 1) & (Y * 10 > -2.5) & (Y * 10 < 1.5)
    assert covered.sum() > 50
    assert (depth[covered] == 10.0).all()
    ground = ground_depth(camera_rays(camera, HEIGHT, WIDTH))
    # All that is not its front is ground: a camera below the roof sees no more of a box straight ahead.
    np.testing.assert_array_equal(depth[~covered], ground[~covered])


def test_nearer_box_hides_the_farther_in_any_order():
    near, far = Solid(centre=(0, 6, 1), half=(0.5, 1, 1)), Solid(centre=(0, 12, 3), half=(3, 1, 3))
    camera = Camera(height_m=1.0)
    depth = cast_depth(scene_with(near, far), camera)
    np.testing.assert_array_equal(depth, cast_depth(scene_with(far, near), camera))
    assert depth[HEIGHT // 2, WIDTH // 2] == 5.0
    assert depth[HEIGHT // 2, WIDTH // 2 + 8] == 11.0


def test_turned_box_shows_its_edge():
    scene = scene_with(Solid(centre=(0, 10, 2), half=(1, 1, 2), yaw_deg=45))
    depth = cast_depth(scene, Camera(height_m=1.5), 63, 95)
    assert depth[31, 47] == pytest.approx(10 - np.sqrt(2), abs=1e-9)


def test_yaw_is_clockwise_from_north():
    east = scene_with(Solid(centre=(10, 0, 2), half=(1, 3, 2)))
    assert cast_depth(east, Camera(height_m=1.5, yaw_deg=90))[HEIGHT // 2, WIDTH // 2] == pytest.approx(9.0, abs=1e-9)
    assert np.isinf(cast_depth(east, Camera(height_m=1.5, yaw_deg=-90))[0]).all()


def test_ball_is_met_at_its_front():
    scene = scene_with(Solid(centre=(0, 10, 1.5), half=(3, 2, 1), shape=Shape.BALL))
    depth = cast_depth(scene, Camera(height_m=1.5), 63, 95)
    assert depth[31, 47] == pytest.approx(8.0, abs=1e-9)
    # A ray at slope x meets (10 tx / 3)^2 + ((t - 10) / 2)^2 = 1 on the level of the centre.
    slope = 8 / (0.8660254037844386 * 95)
    t = depth[31, 55]
    assert (t * slope / 3) ** 2 + ((t - 10) / 2) ** 2 == pytest.approx(1.0, abs=1e-9)


def test_solid_behind_the_camera_is_not_seen():
    behind = scene_with(Solid(centre=(0, -5, 2), half=(2, 1, 2)))
    np.testing.assert_array_equal(
        cast_depth(behind, Camera(height_m=1.5)), cast_depth(open_ground(), Camera(height_m=1.5))
    )


def test_room_ends_at_its_walls():
    room = Room(half=(2.0, 3.0, 1.3), floor=(0.4, 0.3, 0.2), wall=(0.6, 0.6, 0.6), ceiling=(0.7, 0.7, 0.7))
    scene = dataclasses.replace(open_ground(), room=room)
    depth = cast_depth(scene, Camera(y_m=-1.0, height_m=1.2))
    assert depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(4.0)
    assert depth[-1, WIDTH // 2] == pytest.approx(1.2 / Y[-1, 0])
    assert depth[0, WIDTH // 2] == pytest.approx(1.4 / -Y[0, 0])


def cast_plainly(scene, rays):
    """Every solid against every pixel: what `cast` computes with windows and in a better order."""
    depth = ground_depth(rays)
    if scene.room:
        depth = cast(dataclasses.replace(scene, solids=stack_solids([])), rays).depth
    surface = np.where(np.isfinite(depth), BACKDROP, -1)
    for number in range(len(scene.solids)):
        entry = enter_solid(scene.solids, number, make_lines(rays.origin[:, None, None], rays.direction))
        surface = np.where(entry < depth, FIRST_SOLID + number, surface)
        depth = np.minimum(entry, depth)
    return depth, surface


@pytest.mark.parametrize("number", [0, 5, 40, 77])
def test_windows_lose_nothing(number):
    scene, camera, _ = place_view(plan_view("train", number), seed=3)
    rays = camera_rays(camera, 24, 36)
    depth, surface = cast_plainly(scene, rays)
    hits = cast(scene, rays)
    np.testing.assert_array_equal(hits.depth, depth)
    np.testing.assert_array_equal(hits.surface, surface)
    assert (surface >= FIRST_SOLID).any()


def test_picture_changes_exactly_where_depth_does():
    camera = Camera(height_m=1.5, pitch_deg=-4, roll_deg=6)
    box = Solid(centre=(0.7, 9, 1), half=(1, 1, 1), yaw_deg=20, colour=(0.9, 0.0, 0.0))
    without, with_box = (render(scene_with(*solids, direct=(0, 0, 0)), camera, HEIGHT, WIDTH) for solids in ([], [box]))
    moved = without.depth != with_box.depth
    assert moved.sum() > 50
    np.testing.assert_array_equal((without.image != with_box.image).any(axis=-1), moved)


def test_box_casts_a_shadow_away_from_the_sun():
    light = {"sun": (-0.8, 0.0, 0.6), "direct": (0.8, 0.8, 0.8)}
    camera = Camera(height_m=3.0, pitch_deg=-8)
    box = Solid(centre=(0, 10, 1), half=(0.5, 0.5, 1))
    lit, shaded = (render(scene_with(*solids, **light), camera, HEIGHT, WIDTH) for solids in ([], [box]))
    darker = (shaded.image.astype(int) - lit.image).sum(axis=-1) < -40
    same_ground = lit.depth == shaded.depth
    found = np.nonzero(darker & same_ground)
    assert len(found[0]) > 10
    assert (found[1] > WIDTH // 2).all()


def test_haze_hides_far_ground_more_than_near_ground():
    camera = Camera(height_m=2.0)
    clear, hazy = (render(scene_with(haze_per_m=haze), camera, HEIGHT, WIDTH).image.astype(int) for haze in (0.0, 0.02))
    change = np.abs(clear - hazy).mean(axis=(1, 2))
    assert change[HEIGHT // 2 + 2] > 4 * change[-1]


def test_room_view_is_valid_everywhere():
    view = render(make_room(0, 1, 2), Camera(height_m=1.4), HEIGHT, WIDTH)
    assert view.valid.all()
    assert view.depth.max() < 20
