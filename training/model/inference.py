"""A network, or a baseline, applied to photos: one way for the command, for Python and for reports."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.model.float32 import full_float32
from training.photo_options import TILE_PIXELS
from training.prediction.camera import Camera, at_focal_length, resize_depth
from training.prediction.photo import Photo
from training.prediction.tiles import predict_tiled


class Predictor(Protocol):
    """Anything that predicts depth from images."""

    def predict_depth(self, image: Tensor) -> Tensor:
        """Predict depth: uint8 (B, 3, H, W), RGB, to float32 (B, 1, H, W), metres, finite."""
        ...


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, in which BatchNorm changes nothing; restore the mode of each module."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def predict_image(predictor: Predictor, image: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """Predict the depth of one image of any size, at once and as it is.

    Args:
        predictor: A network on `device`, or a baseline.
        image: uint8 (H, W, 3), RGB.
        device: Device to compute on.

    Returns:
        float32 (H, W), metres, computed without TF32.
    """
    planes = image.transpose(2, 0, 1).copy()  # (3, H, W); torch warns of arrays that cannot be written to
    tensor = torch.from_numpy(planes)[None].to(device)
    with torch.inference_mode(), full_float32():
        depth: NDArray[np.float32] = predictor.predict_depth(tensor)[0, 0].float().cpu().numpy()
    return depth


def predict_photo(
    predictor: Predictor, photo: Photo, camera: Camera, device: torch.device, tile_pixels: int = TILE_PIXELS
) -> NDArray[np.float32]:
    """Predict the depth of a photo as the training camera would have taken it, in tiles if that is large.

    Args:
        predictor: A network on `device`, in evaluation mode, or a baseline.
        photo: The photo; if its focal length is not known, it is taken for one of the training camera.
        camera: The training camera.
        device: Device to compute on.
        tile_pixels: Most pixels that are predicted at once.

    Returns:
        float32 (H, W), metres, as large as the photo.

    Raises:
        DataError: With its focal length it would be too large or too small.
    """
    seen = at_focal_length(photo.image, photo.focal_px, camera)  # (H', W', 3)
    depth = predict_tiled(partial(predict_image, predictor, device=device), seen, tile_pixels)
    return resize_depth(depth, photo.image.shape[:2])
