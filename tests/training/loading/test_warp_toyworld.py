"""The warp against exact geometry: turning a picture is what rolling the camera does."""

from dataclasses import replace

import numpy as np
import pytest

from sharding.format.sample import Sample
from sharding.toyworld import Camera, make_town, plane_depth, render
from training.loading.view import apply_warp
from training.loading.warp import Pose, compose_warp

HEIGHT, WIDTH, CROP = 120, 160, (70, 90)
CAMERA = Camera(height_m=3.0, yaw_deg=20.0, pitch_deg=-4.0, roll_deg=3.0)
TOWN = make_town(0, 7, 1)


def view(camera: Camera) -> Sample:
    seen = render(TOWN, camera, HEIGHT, WIDTH)
    return Sample(key="view", image=seen.image, depth=seen.depth, valid=seen.valid)


def crop(sample: Sample) -> Sample:
    return apply_warp(sample, compose_warp(Pose(), (HEIGHT, WIDTH), CROP))


def disagreement(warped: Sample, truth: Sample) -> tuple[float, float, float]:
    """Share of pixels that differ in valid, share of depths off by over 5 %, mean difference of colour."""
    both = warped.valid & truth.valid
    ratio = warped.depth[both] / truth.depth[both]
    colour = np.abs(warped.image.astype(float) - truth.image).mean()
    return (warped.valid != truth.valid).mean(), (np.abs(np.log(ratio)) > 0.05).mean(), colour


@pytest.mark.parametrize("angle", [-12.0, 5.0, 12.0])
def test_turning_the_picture_is_rolling_the_camera(angle):
    turned = apply_warp(view(CAMERA), compose_warp(Pose(angle_deg=angle), (HEIGHT, WIDTH), CROP))
    rolled = crop(view(replace(CAMERA, roll_deg=CAMERA.roll_deg + angle)))
    wrong = crop(view(replace(CAMERA, roll_deg=CAMERA.roll_deg - angle)))
    valid, depth, colour = disagreement(turned, rolled)
    assert valid < 0.02
    assert depth < 0.06
    assert colour < 6
    assert all(
        other > 2 * found for other, found in zip(disagreement(turned, wrong), (valid, depth, colour), strict=True)
    )


def test_the_depth_of_a_turned_plain_is_that_of_the_closed_form():
    camera = replace(CAMERA, pitch_deg=-20.0)
    depth = plane_depth(camera, HEIGHT, WIDTH)
    sample = Sample(key="plain", image=np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth=depth, valid=depth > 0)
    turned = apply_warp(sample, compose_warp(Pose(angle_deg=10.0), (HEIGHT, WIDTH), CROP))
    truth = plane_depth(replace(camera, roll_deg=camera.roll_deg + 10.0), HEIGHT, WIDTH)
    truth = crop(replace(sample, depth=truth, valid=truth > 0))
    near = truth.valid & turned.valid & (truth.depth < 15)
    # Nearest pixels are at most 0.71 of a pixel away; the plain's depth changes by so much over that.
    slope = np.hypot(*np.gradient(truth.depth))
    assert near.sum() > 1000
    assert (np.abs(turned.depth - truth.depth)[near] <= 0.75 * slope[near] + 1e-3).mean() > 0.999


def test_a_mirrored_picture_is_that_of_a_mirrored_roll():
    camera = Camera(height_m=2.0, pitch_deg=-10.0, roll_deg=7.0)
    depth = plane_depth(camera, HEIGHT, WIDTH)
    sample = Sample(key="plain", image=np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth=depth, valid=depth > 0)
    flipped = apply_warp(sample, compose_warp(Pose(flip=True), (HEIGHT, WIDTH), (HEIGHT, WIDTH)))
    truth = plane_depth(replace(camera, roll_deg=-7.0), HEIGHT, WIDTH)
    np.testing.assert_allclose(flipped.depth, truth, rtol=1e-4)
