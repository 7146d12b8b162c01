import numpy as np
import pytest
from toy_views import add_depth_noise, add_image_noise, render_view


@pytest.mark.parametrize("number", [0, 1, 2])  # masks of both dtypes, NaN under the mask
def test_a_view_has_the_shapes_and_dtypes_of_diode_and_is_the_same_each_time(number):
    view, again = render_view(number, 24, 32), render_view(number, 24, 32)
    assert (view.image.dtype, view.image.shape) == (np.uint8, (24, 32, 3))
    assert (view.depth.dtype, view.depth.shape) == (np.float32, (24, 32))
    assert (view.mask.dtype, view.mask.shape) == (np.float32, (24, 32))
    assert set(np.unique(view.mask)) == {0, 1}
    for name in ("image", "depth", "mask"):
        assert getattr(view, name).tobytes() == getattr(again, name).tobytes()


def test_image_noise_is_rounded_and_clipped():
    image = np.array([[[0, 100, 255]]], np.uint8)
    noisy = add_image_noise(image, np.array([[[-3.0, 1.6, 3.0]]]))
    assert noisy.dtype == np.uint8
    assert noisy.tolist() == [[[0, 102, 255]]]
    assert add_image_noise(image, np.array([[[-3, 2, 3]]], np.int16)).tolist() == [[[0, 102, 255]]]


def test_depth_noise_leaves_pixels_without_depth_as_they_are():
    depth = np.array([[2.0, 0.0, np.nan]], np.float32)
    noisy = add_depth_noise(depth, depth > 0, np.full((1, 3), 0.5))
    assert noisy.dtype == np.float32
    assert np.array_equal(noisy, np.array([[2.5, 0.0, np.nan]], np.float32), equal_nan=True)
