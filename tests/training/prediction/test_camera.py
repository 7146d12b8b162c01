import numpy as np
import pytest

from sharding.errors import DataError
from training.prediction.camera import Camera, at_focal_length, resize_depth

DIODE = Camera(focal_px=1323, height=768, width=1024)
HALVES = np.repeat(np.array([[[0, 50, 100], [200, 150, 250]]], np.uint8), 64, axis=1).repeat(
    100, axis=0
)  # (100, 128, 3)


@pytest.mark.parametrize(("focal_px", "shape"), [(2646.0, (50, 64)), (1323.0, (100, 128)), (661.5, (200, 256))])
def test_a_photo_gets_the_size_at_which_the_training_camera_would_have_taken_it(focal_px, shape) -> None:
    seen = at_focal_length(HALVES, focal_px, DIODE)
    assert seen.shape == (*shape, 3)
    assert seen.dtype == np.uint8
    # The edge between the halves stays in the middle, and colours stay.
    assert seen[shape[0] // 2, [0, -1]].tolist() == [[0, 50, 100], [200, 150, 250]]


def test_a_photo_of_unknown_focal_length_or_camera_stays_as_it_is() -> None:
    assert at_focal_length(HALVES, None, DIODE) is HALVES
    assert at_focal_length(HALVES, 500.0, Camera()) is HALVES
    assert at_focal_length(HALVES, 1323.0, DIODE) is HALVES


@pytest.mark.parametrize("focal_px", [1e-300, 0.5, 20000.0, 1e300])
def test_a_focal_length_that_needs_a_huge_or_tiny_image_is_refused(focal_px: float) -> None:
    with pytest.raises(DataError, match="expected a focal length with which"):
        at_focal_length(HALVES, focal_px, Camera(focal_px=1e300 if focal_px < 1 else 1e-300))
    with pytest.raises(DataError, match=r"photo of 128 x 100 pixels .*found .* px, which needs .*; give another one"):
        at_focal_length(HALVES, focal_px, DIODE)


def test_doubts_name_what_is_unknown_and_the_camera_that_metres_hold_for() -> None:
    assert DIODE.doubt(800.0) == ""
    assert DIODE.doubt(None) == (
        "its focal length is unknown, so metres hold for the training camera (focal length 1323 px at 1024 x 768)"
    )
    unknown = "the checkpoint does not tell the focal length of its training images, so metres hold for"
    assert Camera(height=768, width=1024).doubt(800.0) == f"{unknown} the training camera (images at 1024 x 768)"
    assert Camera().doubt(None) == f"{unknown} the training camera"


def test_depth_is_resized_within_its_range() -> None:
    depth = np.random.default_rng(0).uniform(2, 90, (20, 30)).astype(np.float32)
    for size in ((20, 30), (41, 67), (7, 9)):
        resized = resize_depth(depth, size)
        assert resized.shape == size
        assert resized.dtype == np.float32
        assert depth.min() <= resized.min() <= resized.max() <= depth.max()
    assert np.array_equal(
        resize_depth(np.full((5, 6), 7.25, np.float32), (50, 61)), np.full((50, 61), np.float32(7.25))
    )
