import albumentations.augmentations.pixel.functional as theirs
import numpy as np
import pytest
import torch

from training.views.colour import JITTER, brighten, contrast, saturate, shift_hue, solarize, to_grey

NOISE = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def levels_of(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def apply(function, images, factors):
    return function(levels_of(images), torch.tensor(factors, dtype=torch.float64)).permute(0, 2, 3, 1).numpy()


def views(photos):
    return [NOISE, *(np.ascontiguousarray(photo[100:324, 200:424]) for photo in photos)]


@pytest.mark.parametrize(
    ("ours", "reference", "factors"),
    [
        (brighten, theirs.adjust_brightness_torchvision, [0.0, 0.2, 0.77, 1.0, 1.31, 1.8]),
        (contrast, theirs.adjust_contrast_torchvision, [0.0, 0.2, 0.77, 1.0, 1.31, 1.8]),
        (saturate, theirs.adjust_saturation_torchvision, [0.0, 0.2, 0.77, 1.0, 1.31, 1.8]),
    ],
)
def test_brightness_contrast_and_saturation_are_albumentations_own(photos, ours, reference, factors):
    for image in views(photos):
        made = apply(ours, [image] * len(factors), factors)
        for one, factor in zip(made, factors, strict=True):
            difference = np.abs(one - reference(image.copy(), factor).astype(float))
            # Saturation: cv2 may fuse a product and a sum, which rounds some halves otherwise.
            assert difference.max() <= (ours is saturate)
            assert difference.mean() <= 0.01


def test_hue_is_albumentations_own_but_for_what_is_cut_off(photos):
    turns = [-0.2, -0.0471, -0.001, 0.013, 0.1, 0.2]
    for image in views(photos):
        for one, factor in zip(apply(shift_hue, [image] * len(turns), turns), turns, strict=True):
            difference = np.abs(one - theirs.adjust_hue_torchvision(image.copy(), factor).astype(float))
            assert difference.max() <= 1
            assert difference.mean() <= 0.05


def test_grey_and_solarize_are_albumentations_own(photos):
    for image in views(photos):
        assert np.array_equal(
            apply(lambda x, _: to_grey(x), [image], [0])[0], theirs.to_gray(image, 3, "weighted_average")
        )
        for threshold in (0.0, 0.3, 0.5, 1.0):
            assert np.array_equal(apply(solarize, [image], [threshold])[0], theirs.solarize(image, threshold))


def test_extreme_colours_stay_what_they_are():
    corners = np.array([[[r, g, b] for r in (0, 1, 254, 255) for g in (0, 128, 255) for b in (0, 255)]], np.uint8)
    for number, (_, change) in enumerate(JITTER):
        neutral = 0.0 if number == 3 else 1.0
        made = apply(change, [corners], [neutral])[0]
        assert np.abs(made - corners).max() <= (1 if number == 3 else 0)
        assert 0 <= made.min()
        assert made.max() <= 255
