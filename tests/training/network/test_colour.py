import numpy as np
import pytest
import torch

from training.loading.augment import jitter_colour
from training.network.colour import change_colour


def images(count=6, height=40, width=52):
    """Smooth, dark, bright and noisy ones."""
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (count, height, width, 3))
    return np.clip(noise * np.linspace(0.2, 1.6, count)[:, None, None, None], 0, 255).astype(np.uint8)


def on_device(pixels, factors):
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return change_colour(image, torch.tensor(factors)).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("seed", range(20))
def test_each_image_gets_its_own_colour_as_on_the_cpu(seed):
    pixels = images()
    factors = np.random.default_rng(seed).uniform(0.3, 1.7, (len(pixels), 3)).astype(np.float32)
    found = on_device(pixels, factors)
    expected = np.stack([jitter_colour(one, *colour) for one, colour in zip(pixels, factors.tolist(), strict=True)])
    assert np.abs(found.astype(int) - expected).max() <= 1  # OpenCV computes with whole numbers


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula(seed):
    pixels = images().astype(float)
    factors = np.random.default_rng(seed).uniform(0.3, 1.7, (len(pixels), 3)).astype(np.float32)
    brightness, contrast, saturation = factors.astype(float).T.reshape(3, -1, 1, 1, 1)
    luma = (pixels @ [0.299, 0.587, 0.114])[..., None]
    mean = luma.mean(axis=(1, 2), keepdims=True)
    mixed = contrast * (saturation * pixels + (1 - saturation) * luma) + (1 - contrast) * mean
    exact = (brightness * mixed).clip(0, 255)
    assert np.abs(on_device(pixels.astype(np.uint8), factors) - exact).max() <= 0.5 + 1e-3  # rounded once


def test_factors_of_one_change_nothing():
    pixels = images()
    assert np.array_equal(on_device(pixels, np.ones((6, 3), np.float32)), pixels)


def test_half_precision_of_the_factors_does_not_round_the_pixels():
    pixels = images()
    image, factors = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.full((6, 3), 0.75)  # exact in bfloat16
    assert torch.equal(change_colour(image, factors.bfloat16()), change_colour(image, factors))
