import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.loading.view import resize_image
from training.network.float32 import tf32
from training.network.resolution import enlarge, shrink, size_at


def make_images(height: int, width: int, count: int = 2) -> np.ndarray:
    noise = np.random.default_rng(height * width).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    noise[0, : height // 2] = 255  # levels at the end of the range
    return noise


def shrink_by(images: np.ndarray, scale: float) -> np.ndarray:
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    return shrink(batch, *size_at(*images.shape[1:3], scale)).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("scale", [0.999, 0.9, 0.75, 0.5, 0.37, 0.25, 0.1, 1 / 3, 0.01])
@pytest.mark.parametrize("size", [(96, 128), (97, 131), (33, 64), (200, 31), (1, 1), (5, 700)])
def test_levels_are_those_of_training_within_one(size: tuple[int, int], scale: float) -> None:
    images = make_images(*size)
    found = shrink_by(images, scale)
    expected = np.stack([resize_image(image, scale) for image in images])
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    away = np.abs(found.astype(int) - expected)
    assert away.max() <= 1
    assert (away > 0).mean() < 0.1


def test_halved_sides_give_the_very_levels_of_opencv() -> None:
    images = make_images(64, 98)
    expected = np.stack([cv2.resize(image, (49, 32), interpolation=cv2.INTER_AREA) for image in images])
    assert np.array_equal(shrink_by(images, 0.5), expected)


def test_the_average_is_of_the_area_in_whole_numbers_of_pixels_and_in_parts() -> None:
    row = torch.tensor([0, 30, 60, 90, 120], dtype=torch.uint8).expand(1, 3, 2, 5)
    # Each of 2 covers 2.5 pixels: (0 + 30 + 60 / 2) / 2.5 and (60 / 2 + 90 + 120) / 2.5.
    assert shrink(row, 2, 2)[0, 0].tolist() == [[24, 96]] * 2


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_a_plain_image_keeps_its_level(level: int) -> None:
    plain = torch.full((1, 3, 83, 117), level, dtype=torch.uint8)
    assert (shrink(plain, 29, 50) == level).all()


def test_an_image_of_that_size_is_the_image() -> None:
    image = torch.zeros((1, 3, 8, 9), dtype=torch.uint8)
    assert shrink(image, 8, 9) is image
    z = torch.zeros((1, 1, 8, 9))
    assert enlarge(z, 8, 9) is z


def test_an_image_does_not_depend_on_its_batch_nor_on_mixed_precision() -> None:
    images = torch.from_numpy(make_images(90, 121, 3).transpose(0, 3, 1, 2).copy())
    whole = shrink(images, 41, 77)
    assert torch.equal(whole[1:2], shrink(images[1:2], 41, 77))
    with torch.autocast("cpu", dtype=torch.bfloat16), tf32(True, True):
        assert torch.equal(shrink(images, 41, 77), whole)


@pytest.mark.parametrize(("side", "scale", "expected"), [(5, 0.5, 2), (7, 0.5, 4), (1, 0.1, 1), (768, 0.37, 284)])
def test_sides_are_rounded_as_training_rounds_them(side: int, scale: float, expected: int) -> None:
    assert size_at(side, 100, scale) == (expected, round(100 * scale))
    assert resize_image(np.zeros((side, 100, 3), np.uint8), scale).shape[0] == expected


def test_log_depth_is_interpolated_between_pixel_centres() -> None:
    z = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)
    assert enlarge(z, 1, 4).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    ramp = torch.arange(12.0).view(1, 1, 3, 4)
    expected = F.interpolate(ramp, (7, 9), mode="bilinear", align_corners=False)
    assert torch.equal(enlarge(ramp, 7, 9), expected)
