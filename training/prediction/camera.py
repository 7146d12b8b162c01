"""The camera that a network was trained on, and how photos of other cameras are made to look like its own.

A network sees pixels. A thing of size X at distance Z is h = f X / Z pixels large, where f is the focal length in
pixels; h is all that the image tells, so the network learns Z = f_train X / h. A photo of another camera, with
f / f_train times larger things at the same distance, is predicted f_train / f times too near.

The photo is therefore resized by s = f_train / f: things then have s f X / Z = f_train X / Z pixels, exactly those of
the training camera at the same place, and the metres hold as they are. The other way, to keep the photo and multiply
the predicted depth by f / f_train, gives the same only if the network answers to a resized image with a depth that is
exactly inversely proportional: it does not, as it was trained on one range of sizes, of blur and of texture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.errors import DataError
from sharding.limits import MAX_PIXELS

_MIN_SIDE_PX = 32
"""Shorter side of what a photo is shrunk to: less is one pixel of the encoder's last features, and no picture."""


UP_TO_SCALE = "the network was trained on depth up to scale: it predicts ratios within an image, not metres"
"""What is said of such a network's predictions."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The camera of the images that a network was trained on; 0 means unknown.

    Attributes:
        focal_px: Focal length in pixels of its images.
        height: Of its images, pixels; 0 also if they differ.
        width: Of its images, pixels; 0 also if they differ.
        metric: Whether it measured metres; if not, depth is up to scale, and nothing tells metres.
    """

    focal_px: float = 0.0
    height: int = 0
    width: int = 0
    metric: bool = True

    def describe(self) -> str:
        """Name the camera by what is known of it: "the training camera (focal length 1323 px)"."""
        size = f" at {self.width} x {self.height}" if self.width and self.height else ""
        known = [f"focal length {self.focal_px:g} px{size}"] if self.focal_px else [f"images{size}"] if size else []
        return " ".join(["the training camera", *(f"({one})" for one in known)])

    def doubt(self, focal_px: float | None) -> str:
        """Say why metres may be wrong for a photo of a focal length (None: unknown); "" if it is accounted for."""
        if not self.metric:
            return UP_TO_SCALE
        if self.focal_px and focal_px is not None:
            return ""
        if self.focal_px:
            return f"its focal length is unknown, so metres hold for {self.describe()}"
        return (
            f"the checkpoint does not tell the focal length of its training images, so metres hold for "
            f"{self.describe()}"
        )


def at_focal_length(image: NDArray[np.uint8], focal_px: float | None, camera: Camera) -> NDArray[np.uint8]:
    """Resize a photo to the size at which a camera would have taken it: by camera.focal_px / focal_px.

    Args:
        image: uint8 (H, W, 3).
        focal_px: Focal length in pixels of `image`; None if it is not known.
        camera: The training camera.

    Returns:
        uint8 (H', W', 3), filtered over the area of each new pixel; `image` itself if a focal length is unknown.

    Raises:
        DataError: It would have more than `MAX_PIXELS` pixels, or a side of less than 32.
    """
    if focal_px is None or not camera.focal_px:
        return image
    height, width = image.shape[:2]
    factor = min(camera.focal_px / focal_px, 1e9)  # finite, so that it can be refused below
    size = round(width * factor), round(height * factor)
    if size == (width, height):
        return image
    if size[0] * size[1] > MAX_PIXELS or min(size) < _MIN_SIDE_PX:
        raise DataError(
            f"expected a focal length with which a photo of {width} x {height} pixels looks like one of "
            f"{camera.describe()}, found {focal_px:g} px, which needs {size[0]} x {size[1]} pixels; give another one"
        )
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)


def resize_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a depth map to (height, width), bilinear: float32 metres, none nearer or farther than before."""
    if depth.shape == size:
        return depth
    resized = Image.fromarray(depth).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    # The filter's weights are rounded: they must not lead out of the range.
    return np.asarray(resized, dtype=np.float32).clip(depth.min(), depth.max())
