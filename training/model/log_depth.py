"""A network that predicts log depth, and what it is asked for: z, depth of images, depth of photos.

The network predicts z, the natural log of depth in metres, as a difference to the training set's mean log depth. So
depth is always positive, equal relative errors weigh the same near and far, and training starts at a typical depth.

It may work at a resolution below that of the images (`scale`): images are shrunk, and z is enlarged to their size.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from training.model.depth_range import depth_from_log
from training.model.hyperparameters import Hyperparameters
from training.model.inference import evaluating, predict_photo
from training.network.computation import Computation
from training.network.resolution import enlarge, shrink, size_at
from training.photo_options import TILE_PIXELS
from training.prediction.photo import PhotoSource, read_photo

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Per channel of RGB in [0, 1]: the normalisation of torchvision's encoders and of LightlyTrain's pretraining."""


class LogDepthModule(LightningModule):
    """A network with the normalisation of its images and the range of its depth; `DepthUnet` trains it.

    Args:
        unet: Network from float32 (B, 3, H, W) to (B, 1, H, W).
        options: What it was built and is trained with.
        computation: How training steps are computed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, unet: nn.Module, options: Hyperparameters, computation: Computation) -> None:
        super().__init__()
        self.options, self.unet = options, unet
        # Scaled to uint8 RGB and kept out of the state dict, as they are constants.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1) * 255, persistent=False)
        self._computation = computation
        self._compute_step: Callable[[Tensor], Tensor] | None = None

    @property
    def scale(self) -> float:
        """Return the resolution that the network works at, by that of the images."""
        return self.options.scale

    def forward(self, image: Tensor) -> Tensor:
        """Predict z, the log depth, of images that have the resolution that the network works at.

        Args:
            image: uint8 (B, 3, H, W), RGB.

        Returns:
            float32 (B, 1, H, W): natural log of depth in metres, not clamped.

        Raises:
            TypeError: The image is not uint8: it may have been normalised already.
        """
        if image.dtype != torch.uint8 or image.ndim != 4 or image.shape[1] != 3:
            raise TypeError(f"expected an image uint8 (B, 3, H, W), found {image.dtype} {tuple(image.shape)}")
        pixels = self._computation.arrange((image - self.mean) / self.deviation)  # uint8 - float32 is float32
        compute = self._compute_step if self.training and self._compute_step is not None else self.unet
        z: Tensor = compute(pixels)
        return z.float() + self.options.log_depth_mean  # float32 under mixed precision, too

    def predict_log(self, image: Tensor) -> Tensor:
        """Predict z of images of any resolution, at their size: uint8 (B, 3, H, W) to float32 (B, 1, H, W)."""
        height, width = image.shape[-2:]
        seen = image if self.scale == 1 else shrink(image, *size_at(height, width, self.scale))
        z: Tensor = self(seen)
        return enlarge(z, height, width)

    @torch.no_grad()
    def predict_depth(self, image: Tensor) -> Tensor:
        """Predict depth, in eval mode whatever the mode is.

        Args:
            image: uint8 (B, 3, H, W), RGB, on the network's device, not shrunk.

        Returns:
            float32 (B, 1, H, W), metres, within [`MIN_DEPTH_M`, `MAX_DEPTH_M`].
        """
        with evaluating(self):
            return depth_from_log(self.predict_log(image))

    @torch.no_grad()
    def predict_shrunk(self, image: Tensor) -> Tensor:
        """Predict depth of images that have been shrunk by `scale` already; otherwise as `predict_depth`."""
        with evaluating(self):
            return depth_from_log(self(image))

    def predict(
        self, image: PhotoSource, *, focal_px: float | None = None, tile_pixels: int = TILE_PIXELS
    ) -> NDArray[np.float32]:
        """Predict the depth of a picture, as `depthstream predict` does.

        Args:
            image: An image file, a PIL image, or an array: uint8, uint16 or float in [0, 1], (H, W, 3) or (H, W).
            focal_px: Focal length in pixels of the image; None takes that of its EXIF data.
            tile_pixels: Most pixels that are predicted at once, at the resolution that the network works at; a larger
                image is predicted in tiles.

        Returns:
            float32 (H, W), metres, as large as the image; they hold for the training camera, with a warning, if the
            focal length of the image, or of the training images, is unknown. A network that was trained on depth up to
            scale gives ratios, with a warning.

        Raises:
            DataError, ValueError: It is no image, or of an impossible focal length; see `read_photo`.
        """
        photo, camera = read_photo(image, focal_px), self.options.camera
        if doubt := camera.doubt(photo.focal_px):
            warnings.warn(doubt, stacklevel=2)
        return predict_photo(self, photo, camera, self.device, tile_pixels)
