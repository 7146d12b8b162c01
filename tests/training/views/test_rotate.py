import cv2
import numpy as np
import pytest
import torch
from albumentations.augmentations.geometric.functional import center, create_affine_transformation_matrix, warp_affine

from training.views.rotate import rotate

ANGLES = [-90.0, -33.3, -1.0, 1e-3, 0.0, 7.7, 15.0, 45.0, 90.0]


def cv2_rotate(image, degrees):
    still, same = {"x": 0, "y": 0}, {"x": 1, "y": 1}
    matrix = create_affine_transformation_matrix(still, still, same, degrees, center(image.shape[:2]))
    return warp_affine(image, matrix, cv2.INTER_AREA, 0, cv2.BORDER_REFLECT_101, image.shape[:2])


@pytest.mark.parametrize(("height", "width"), [(224, 224), (96, 96), (60, 130), (7, 7)])
def test_rotation_is_albumentations_own(photos, height, width):
    for photo in photos:
        image = np.ascontiguousarray(photo[50 : 50 + height, 60 : 60 + width])
        levels = torch.from_numpy(image).permute(2, 0, 1).float().expand(len(ANGLES), -1, -1, -1)
        for one, degrees in zip(rotate(levels, np.array(ANGLES)), ANGLES, strict=True):
            difference = np.abs(one.permute(1, 2, 0).numpy() - cv2_rotate(image, degrees).astype(float))
            assert difference.mean() <= 0.01
            assert difference.max() <= 1


def test_a_view_that_is_not_rotated_stays_bit_for_bit(photos):
    levels = torch.from_numpy(photos[0][:224, :224].copy()).permute(2, 0, 1).float()[None]
    assert torch.equal(rotate(levels, np.array([0.0])), levels)


def test_a_quarter_turn_is_counter_clockwise():
    image = torch.zeros(1, 3, 5, 5)
    image[0, :, 0, 4] = 200.0  # at the top right
    turned = rotate(image, np.array([90.0]))
    assert turned[0, 0, 0, 0] == 200
    assert turned.sum() == 600
