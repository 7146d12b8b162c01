import numpy as np
import pytest

from training.prediction.levels import to_rgb8


def test_8_bits_are_kept_without_a_copy() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(to_rgb8(pixels), pixels)
    assert np.shares_memory(to_rgb8(pixels), pixels)


def test_16_bits_are_divided_by_257_and_rounded() -> None:
    levels = np.array([[0, 128, 129, 257, 65278, 65535]], np.uint16)
    assert to_rgb8(levels)[0, :, 0].tolist() == [0, 0, 1, 1, 254, 255]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_levels_are_multiplied_by_255_and_rounded(dtype: type) -> None:
    levels = np.array([[[0, 0.25, 0.5], [0.75, 1, 0.001]]], dtype)
    assert to_rgb8(levels).tolist() == [[[0, 64, 128], [191, 255, 0]]]


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0.0, 1.001), (0.0, 255.0), (0.0, np.nan), (0.0, np.inf)])
def test_floating_point_levels_outside_0_to_1_are_refused(low: float, high: float) -> None:
    with pytest.raises(
        ValueError, match=r"from 0 \(black\) to 1 \(white\), found .*; divide them by the level of white"
    ):
        to_rgb8(np.array([[low, high, 0.5]], np.float32))


def test_grey_becomes_rgb_and_alpha_is_dropped() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(to_rgb8(grey), np.stack([grey] * 3, -1))
    assert np.array_equal(to_rgb8(grey[..., None]), np.stack([grey] * 3, -1))
    assert np.array_equal(
        to_rgb8(np.stack([grey, grey + 1, grey + 2, grey * 0], -1)), np.stack([grey, grey + 1, grey + 2], -1)
    )


@pytest.mark.parametrize("shape", [(3,), (3, 4, 2), (3, 4, 5), (1, 3, 8, 8), (0, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected an image \(H, W\).*found shape"):
        to_rgb8(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [bool, np.int16, np.int64, np.uint32, np.complex64])
def test_other_types_are_refused(dtype: type) -> None:
    with pytest.raises(
        ValueError, match=f"expected levels of type uint8, uint16 or floating point, found {np.dtype(dtype)}"
    ):
        to_rgb8(np.zeros((2, 2), dtype))
