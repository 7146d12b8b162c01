import copy
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sharding.errors import UsageError
from training.views.recipe import Blur, Jitter, Rotation, Solarize, read_recipe


def test_simclr_with_the_conservative_augmentation(transforms):
    first, second = read_recipe(transforms["simclr", "conservative"])
    assert first == second
    assert (first.height, first.width, first.scale, first.ratio) == (224, 224, (0.08, 1.0), (0.75, 4 / 3))
    assert (first.horizontal, first.vertical, first.grey) == (0.5, 0.0, 0.2)
    assert first.rotation == Rotation(p=1.0, degrees=(-15.0, 15.0))
    wide = (1 - 0.8, 1.8)
    assert first.jitter == Jitter(p=0.8, brightness=wide, contrast=wide, saturation=wide, hue=(-0.2, 0.2))
    assert first.blur == Blur(p=0.5, sigma=(0.1, 2.0), side=(0, 0))
    assert first.solarize == Solarize()
    assert first.mean == pytest.approx((123.675, 116.28, 103.53))
    assert first.factor == pytest.approx((1 / 58.395, 1 / 57.12, 1 / 57.375))


def test_each_view_of_dino_has_its_own_recipe(transforms):
    views = read_recipe(transforms["dino", "default"])
    assert [view.height for view in views] == [224, 224] + 6 * [96]
    assert [view.scale for view in views] == 2 * [(0.14, 1.0)] + 6 * [(0.05, 0.14)]
    assert [view.blur.p for view in views] == [1.0, 0.1] + 6 * [0.5]
    assert [view.solarize for view in views] == [Solarize(), Solarize(p=0.2, threshold=(0.5, 0.5)), *6 * [Solarize()]]
    assert all(view.rotation == Rotation() for view in views)
    assert all(view.rotation.degrees == (-90.0, 90.0) for view in read_recipe(transforms["dino", "aggressive"]))


@pytest.mark.parametrize("degrees", [15.0, 45.0, 90.0])
def test_corners_of_a_rotated_view_are_mirrored_not_black(transforms, degrees):
    """Black corners would tell the angle. 45 degrees leave 17 % of a square without an image of its own."""
    compose = transforms["simclr", "aggressive"].transforms[0].transform
    rotate = copy.deepcopy(next(op for op in compose.transforms if type(op).__name__ == "Rotate"))
    rotate.limit = (degrees, degrees)
    white = np.full((224, 224, 3), 255, np.uint8)
    np.testing.assert_array_equal(rotate(image=white)["image"], white)
    rotate.border_mode = cv2.BORDER_CONSTANT  # the control: torchvision's way
    assert (rotate(image=white)["image"][0, 0] == 0).all() == (degrees != 90)


def test_a_transform_of_a_single_view_such_as_distillations(transforms):
    kind = type("DistillationV3Transform", (), {"transform": transforms["simclr", "default"].transforms[0]})
    assert read_recipe(kind()) == read_recipe(transforms["simclr", "default"])[:1]


@pytest.mark.slow
def test_the_other_methods_of_two_views_and_of_vision_transformers(take_transform):
    assert [view.scale for view in read_recipe(take_transform("densecl"))] == 2 * [(0.2, 1.0)]
    views = read_recipe(take_transform("dinov2", model="dinov2/_vittest14"))
    assert [view.height for view in views] == [224, 224] + 8 * [98]


def test_views_without_a_crop_show_the_whole_image(take_transform):
    views = read_recipe(take_transform("simclr", {"random_resize": None, "image_size": (64, 96), "color_jitter": None}))
    assert {(view.height, view.width, view.scale, view.jitter) for view in views} == {(64, 96, None, Jitter())}


def changed(transform, kind, **attributes):
    """A copy whose operation of that kind has other attributes."""
    transform = copy.deepcopy(transform)
    (op,) = (op for op in transform.transforms[0].transform.transforms if type(op).__name__.startswith(kind))
    for name, value in attributes.items():
        setattr(op, name, value)
    return transform


@pytest.mark.parametrize(
    ("kind", "attributes", "said"),
    [
        (
            "RandomResizedCrop",
            {"interpolation": cv2.INTER_LINEAR},
            "RandomResizedCrop with interpolation 1, expected 3",
        ),
        ("RandomResizedCrop", {"p": 0.5}, r"RandomResizedCrop with p 0\.5, expected 1\.0"),
        ("Rotate", {"border_mode": cv2.BORDER_CONSTANT}, "Rotate with border_mode 0, expected 4"),
        ("Rotate", {"crop_border": True}, "Rotate with crop_border True, expected False"),
        ("ToGray", {"method": "pca"}, "ToGray with method 'pca', expected 'weighted_average'"),
        ("Normalize", {"normalization": "image"}, "with normalization 'image', expected 'standard'"),
        ("Normalize", {"mean": (0.5,)}, "images of 1 channels, expected 3"),
        ("GaussianBlur", {"sigma_limit": (0.1, 100.0)}, "a blur over 350 pixels of views of 224 x 224"),
    ],
)
def test_an_option_that_is_not_understood_is_refused_by_name(transforms, kind, attributes, said):
    with pytest.raises(UsageError, match=f"--views gpu does not make .*{said}.*; give --views cpu"):
        read_recipe(changed(transforms["simclr", "conservative"], kind, **attributes))


def test_an_operation_that_is_not_known_is_refused_by_name(take_transform):
    dropping = {"channel_drop": {"num_channels_keep": 3, "weight_drop": (1.0, 1.0, 0.0, 0.0)}, "num_channels": 3}
    with pytest.raises(UsageError, match="SimCLRTransform: the operation ChannelDrop"):
        read_recipe(take_transform("simclr", dropping))


def test_operations_in_another_order_or_number_are_refused(transforms):
    transform = copy.deepcopy(transforms["simclr", "conservative"])
    ops = transform.transforms[0].transform.transforms
    ops[1], ops[3] = ops[3], ops[1]
    with pytest.raises(UsageError, match="the operations RandomResizedCrop, Rotate, VerticalFlip, HorizontalFlip"):
        read_recipe(transform)
    ops[1], ops[3] = ops[3], ops[1]
    ops.insert(4, ops[4])
    with pytest.raises(UsageError, match="Rotate, ColorJitter, ColorJitter"):
        read_recipe(transform)


def test_a_transform_or_view_that_is_not_known_is_refused_by_name(transforms):
    with pytest.raises(UsageError, match="views of SimpleNamespace, which is not one of SimCLRTransform"):
        read_recipe(SimpleNamespace(transforms=transforms["simclr", "default"].transforms))
    transform = copy.deepcopy(transforms["simclr", "default"])
    transform.transforms[0].transform = transform.transforms[0]
    with pytest.raises(UsageError, match="a view made by ViewTransform, expected albumentations' Compose"):
        read_recipe(transform)


@pytest.mark.slow
def test_views_whose_crops_are_trained_on_are_refused(take_transform):
    with pytest.raises(UsageError, match="Compose with save_applied_params True, expected False"):
        read_recipe(take_transform("dino", {"record_geometry": True}))
