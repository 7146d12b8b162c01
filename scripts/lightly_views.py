"""LightlyTrain's own transform, and its views of given draws: what `measure_device_views.py` compares with."""

import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pretrain_bench.loaders import CapturingStrategy, capture

from training.pretraining.augmentations import get_transform_args
from training.views.draws import ORDERS


def take_transform(method: str, augmentation: str | None) -> Any:
    """Return the transform that LightlyTrain makes for a method; augmentation None: its defaults."""
    with tempfile.TemporaryDirectory() as out:
        arguments = {
            "data": ["0.jpg", "1.jpg"],  # never read
            "strategy": CapturingStrategy(Path(out)),
            "transform_args": get_transform_args(augmentation) if augmentation else None,
        }
        dataset: Any = capture(arguments, Path(out), method, batch_size=2, workers=0).dataset
        return dataset.transform


def make_view(view: Any, image: NDArray[np.uint8], drawn: dict[str, float]) -> torch.Tensor:
    """Make a view by albumentations' own operations, from numbers that are given: float32 (3, h, w), normalised.

    Args:
        view: One of LightlyTrain's view transforms.
        image: uint8 (H, W, 3).
        drawn: The numbers, by the names of `training.views.draws.Draws`.
    """
    ops = {type(op).__name__.replace("DtypeAware", ""): op for op in view.transform.transforms}
    found = _change_colour(ops, _change_geometry(ops, image, drawn), drawn)
    normalised: torch.Tensor = ops["ToTensorV2"].apply(ops["Normalize"].apply(found))
    return normalised


def _change_geometry(ops: dict[str, Any], image: NDArray[np.uint8], drawn: dict[str, float]) -> NDArray[np.uint8]:
    left, top, width, height = (int(drawn[name]) for name in ("left", "top", "width", "height"))
    found: NDArray[np.uint8] = ops["RandomResizedCrop"].apply(
        image, crop_coords=(left, top, left + width, top + height)
    )
    if drawn["horizontal"]:
        found = ops["HorizontalFlip"].apply(found)
    if drawn["vertical"]:
        found = ops["VerticalFlip"].apply(found)
    if drawn["angle"]:
        centre = (found.shape[1] - 1) / 2, (found.shape[0] - 1) / 2
        matrix = np.vstack([cv2.getRotationMatrix2D(centre, drawn["angle"], 1.0), [0, 0, 1]])
        outside = dict.fromkeys(("x_min", "x_max", "y_min", "y_max"), -1)
        found = ops["Rotate"].apply(found, matrix=matrix, **outside, shape=found.shape)
    return found


def _change_colour(ops: dict[str, Any], found: NDArray[np.uint8], drawn: dict[str, float]) -> NDArray[np.uint8]:
    from albumentations.augmentations.blur.functional import create_gaussian_kernel_1d

    factors = {name: drawn[name] for name in ("brightness", "contrast", "saturation", "hue")}
    if tuple(factors.values()) != (1, 1, 1, 0):
        found = ops["ColorJitter"].apply(found, **factors, order=list(ORDERS[int(drawn["order"])]))
    if drawn["grey"]:
        found = ops["ToGray"].apply(found)
    if drawn["side"] > 1:
        found = ops["GaussianBlur"].apply(found, kernel=create_gaussian_kernel_1d(drawn["sigma"], int(drawn["side"])))
    if np.isfinite(drawn["threshold"]):
        found = ops["Solarize"].apply(found, threshold=drawn["threshold"])
    return found
