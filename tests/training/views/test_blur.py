import albumentations.augmentations.pixel.functional as theirs
import numpy as np
import pytest
import torch
from albumentations.augmentations.blur.functional import create_gaussian_kernel_1d

from training.views.blur import blur, make_kernels


def levels_of(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def test_blur_is_albumentations_own(photos):
    crops = [np.ascontiguousarray(photo[100:324, 200:424]) for photo in photos]
    for image in crops:
        sigmas = np.array([0.1, 0.3, 0.7, 1.3, 1.999, 1.0])
        kernels = [create_gaussian_kernel_1d(sigma, 0) for sigma in sigmas[:-1]] + [create_gaussian_kernel_1d(1.0, 9)]
        made = blur(levels_of([image] * 6), sigmas, np.array([float(len(kernel)) for kernel in kernels]))
        for one, kernel in zip(made, kernels, strict=True):
            difference = np.abs(one.permute(1, 2, 0).numpy() - theirs.separable_convolve(image, kernel))
            assert difference.max() <= 1
            assert difference.mean() <= 0.001


@pytest.mark.parametrize(("sigma", "side"), [(0.1, 1), (0.5, 3), (2.0, 15), (1.0, 5)])
def test_kernels_are_albumentations_own(sigma, side):
    (half,) = make_kernels(np.array([sigma]), np.array([float(side)]))
    assert np.allclose([*half[:0:-1], *half], create_gaussian_kernel_1d(sigma, side), atol=1e-7)


def test_a_wider_kernel_in_the_batch_changes_nothing(photos):
    levels = levels_of([photo[:64, :64] for photo in photos])
    sigma, side = np.array([0.4, 1.9, 0.9]), np.array([3.0, 13.0, 7.0])
    together = blur(levels, sigma, side)
    alone = [blur(levels[at : at + 1], sigma[at : at + 1], side[at : at + 1])[0] for at in range(3)]
    assert torch.equal(together, torch.stack(alone))
