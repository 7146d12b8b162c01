"""A network, or a baseline, applied to photos: one way for the command, for Python and for reports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.network.float32 import full_float32
from training.network.resolution import enlarge, shrink, size_at
from training.photo_options import TILE_PIXELS
from training.prediction.camera import Camera, at_focal_length, resize_depth
from training.prediction.photo import Photo
from training.prediction.tiles import predict_tiled, tile_size


class Predictor(Protocol):
    """Anything that predicts depth from images."""

    def predict_depth(self, image: Tensor) -> Tensor:
        """Predict depth: uint8 (B, 3, H, W), RGB, to float32 (B, 1, H, W), metres, finite."""
        ...


class Network(Predictor, Protocol):
    """A predictor that works at a resolution of its own."""

    @property
    def scale(self) -> float:
        """Return that resolution, by that of the images."""
        ...

    def predict_shrunk(self, image: Tensor) -> Tensor:
        """Predict depth of images that have been shrunk by `scale` already; otherwise as `predict_depth`."""
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
    return _predict(predictor.predict_depth, image, device)


def _predict(
    predict: Callable[[Tensor], Tensor], image: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    with torch.inference_mode(), full_float32():
        depth: NDArray[np.float32] = predict(_to_batch(image).to(device))[0, 0].float().cpu().numpy()
    return depth


def _to_batch(image: NDArray[np.uint8]) -> Tensor:
    """Return an image (H, W, 3) as a batch of it, (1, 3, H, W)."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]  # torch warns of arrays that cannot be written to


def predict_photo(
    network: Network, photo: Photo, camera: Camera, device: torch.device, tile_pixels: int = TILE_PIXELS
) -> NDArray[np.float32]:
    """Predict the depth of a photo as the training camera would have taken it, in tiles if that is large.

    Args:
        network: On `device`, in evaluation mode.
        photo: The photo; if its focal length is not known, it is taken for one of the training camera.
        camera: The training camera.
        device: Device to compute on.
        tile_pixels: Most pixels that are predicted at once, at the resolution that the network works at.

    Returns:
        float32 (H, W), metres, as large as the photo.

    Raises:
        DataError: With its focal length it would be too large or too small.
    """
    seen = at_focal_length(photo.image, photo.focal_px, camera)  # (H', W', 3)
    size = size_at(seen.shape[0], seen.shape[1], network.scale)
    whole = tile_size(*size, tile_pixels) == size
    depth = predict_image(network, seen, device) if whole else _predict_tiles(network, seen, size, device, tile_pixels)
    return resize_depth(depth, photo.image.shape[:2])


def _predict_tiles(
    network: Network, image: NDArray[np.uint8], size: tuple[int, int], device: torch.device, tile_pixels: int
) -> NDArray[np.float32]:
    """Predict an image in tiles, which are cut after it has been shrunk to `size`: all of one grid, without seams."""
    small = shrink(_to_batch(image), *size)[0].permute(1, 2, 0).numpy()  # (h, w, 3)
    depth = predict_tiled(partial(_predict, network.predict_shrunk, device=device), small, tile_pixels)
    if size == image.shape[:2]:
        return depth
    return enlarge(torch.from_numpy(depth)[None, None].log(), *image.shape[:2])[0, 0].exp().numpy()
