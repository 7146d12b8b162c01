"""Paired augmentation: the random draws of a view, and of its colour."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sharding.errors import UsageError
from sharding.format.sample import Sample
from training.loading.view import ViewArrays, apply_warp, fill_view
from training.loading.warp import BOX_RATIOS, Pose, Warp, compose_warp
from training.network.luma import LUMA

_BOXES = 10  # that torchvision's `RandomResizedCrop` tries


Colour = tuple[float, float, float]
"""Factors of brightness, contrast and saturation; 1 changes nothing."""


def jitter_colour(
    image: NDArray[np.uint8], brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0
) -> NDArray[np.uint8]:
    """Change brightness, contrast and saturation as one linear map of the colour, rounded and clipped once.

    With luma L(c) and its mean m over the image, a colour c becomes
    brightness * (contrast * (saturation * c + (1 - saturation) * L(c)) + (1 - contrast) * m).

    Args:
        image: uint8 (H, W, 3), RGB.
        brightness: Factor, 1 changes nothing.
        contrast: Factor, 1 changes nothing, 0 gives the mean luma everywhere.
        saturation: Factor, 1 changes nothing, 0 gives grey.

    Returns:
        uint8 (H, W, 3); `image` itself if nothing changes.
    """
    if brightness == contrast == saturation == 1:
        return image
    luma = np.array(LUMA)
    mean = float(np.dot(cv2.mean(image)[:3], luma))  # cv2.mean returns 4 channels
    mix = saturation * np.eye(3) + (1 - saturation) * luma  # (3, 3), each row is one output channel
    colour = np.column_stack([brightness * contrast * mix, np.full(3, brightness * (1 - contrast) * mean)])  # (3, 4)
    # (3, 4) times (r, g, b, 1) at every pixel, rounded and clipped to 0..255.
    return np.asarray(cv2.transform(image, colour), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class PairedAugment:
    """Random rotation, zoom, flip and crop of image, depth and valid together; random colour of the image.

    Stateless and picklable: all randomness comes from the generator it is called with, always the same number of
    draws in the same order (geometry first), so that a sample's augmentation depends on its generator alone.

    Attributes:
        height: Of the output, pixels.
        width: Of the output, pixels.
        max_rotation_deg: The angle is uniform in plus or minus this, degrees, 0 to 180.
        zoom: (low, high), 0 < low <= high; log-uniform between them, so that log depth moves uniformly.
        flip_prob: Probability of a left-right flip.
        scale: Fixed resolution of every view relative to the source (0.5: a network run at half resolution). Depth
            does not change with it; evaluate with `resize_image(image, scale)`.
        crop_area: (least, largest) share of the source's area that a view shows; None for a crop of `height` x `width`
            pixels at the view's own scale. With it, boxes are drawn as by torchvision's `RandomResizedCrop`: share
            uniform, width / height log-uniform from 3/4 to 4/3; the first of ten that fits is placed uniformly and
            stretched to the output. Depth does not follow this zoom, and `scale` does not change it.
        brightness: The factor is uniform in 1 plus or minus this, 0 to below 1; 0 is off.
        contrast: The same.
        saturation: The same.

    Raises:
        UsageError: A value is out of its range.
    """

    height: int
    width: int
    max_rotation_deg: float = 15.0
    zoom: tuple[float, float] = (1.0, 1.5)
    flip_prob: float = 0.5
    scale: float = 1.0
    crop_area: tuple[float, float] | None = None
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        self._require(min(self.height, self.width) >= 1, "height and width must be at least 1 pixel")
        self._require(0 <= self.max_rotation_deg <= 180, "max_rotation_deg must be from 0 to 180")
        self._require(0 < self.zoom[0] <= self.zoom[1], "zoom must be (low, high) with 0 < low <= high")
        self._require(0 <= self.flip_prob <= 1, "flip_prob must be from 0 to 1")
        self._require(self.scale > 0, "scale must be above 0")
        if self.crop_area is not None:
            self._require(
                0 < self.crop_area[0] <= self.crop_area[1] <= 1, "crop_area must be (low, high) within 0 and 1"
            )
            self._require(self.zoom == (1, 1), "zoom must be (1, 1) with crop_area, which has a zoom of its own")
        strengths = (self.brightness, self.contrast, self.saturation)
        self._require(all(0 <= s < 1 for s in strengths), "brightness, contrast, saturation must be from 0 to below 1")

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise UsageError(f"{rule}; found {self}")

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of a view, pixels."""
        return self.height, self.width

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Augment one sample.

        Args:
            sample: Image uint8 (H, W, 3), depth float32 (H, W) and valid bool (H, W) or None.
            rng: The sample's own generator.

        Returns:
            A sample of (height, width); the arrays of `sample` are not written to.

        Raises:
            DataError: Image, depth and valid differ in size, or a side is longer than `MAX_SIDE_PX`.
        """
        warp, colour = self.draw(sample.image.shape[:2], rng)
        warped = apply_warp(sample, warp)
        return replace(warped, image=jitter_colour(warped.image, *colour))

    def fill(self, sample: Sample, rng: np.random.Generator, into: ViewArrays) -> Colour:
        """Write the view of one sample, and return how its colour is to be changed.

        The trainer does that, beside the normalisation (`training.network.colour`); all else is as in `__call__`.

        Args:
            sample: As there, with depth that is 0 where it is not valid.
            rng: The sample's own generator.
            into: Arrays of (height, width).

        Returns:
            Factors of brightness, contrast and saturation.

        Raises:
            DataError: As there, or depth or valid is missing.
        """
        warp, colour = self.draw(sample.image.shape[:2], rng)
        fill_view(sample, warp, into)
        return colour

    def draw(self, source: tuple[int, ...], rng: np.random.Generator) -> tuple[Warp, Colour]:
        """Draw the warp of a source of (H, W) pixels, and factors of brightness, contrast and saturation."""
        warp = compose_warp(self.draw_pose(rng), (source[0], source[1]), (self.height, self.width), self.scale)
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        # Always three draws, whatever the strengths, like the five of the pose.
        brightness, contrast, saturation = (1 + strengths * rng.uniform(-1, 1, size=3)).tolist()
        return warp, (brightness, contrast, saturation)

    def draw_pose(self, rng: np.random.Generator) -> Pose:
        """Draw a pose: five uniform numbers for angle, zoom, flip and the position of the crop (across, down).

        With `crop_area`, twenty more for its boxes.
        """
        # Always five draws, also where a range is empty: options then do not shift the draws of others.
        angle, zoom, flip, across, down = rng.random(5).tolist()
        low, high = self.zoom
        return Pose(
            angle_deg=self.max_rotation_deg * (2 * angle - 1),
            zoom=low * (high / low) ** zoom,  # log-uniform
            flip=flip < self.flip_prob,
            across=across,
            down=down,
            boxes=self._draw_boxes(rng),
        )

    def _draw_boxes(self, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
        if self.crop_area is None:
            return ()
        # Always all ten, also where the first fits, so that the draws that follow are the same for any source.
        low, high = self.crop_area
        narrow, wide = BOX_RATIOS
        return tuple(
            (low + (high - low) * share, narrow * (wide / narrow) ** ratio)
            for share, ratio in rng.random((_BOXES, 2)).tolist()
        )


def one_thread_per_worker(worker_id: int) -> None:
    """Limit cv2 in a loader worker to one thread (`DataLoader(worker_init_fn=...)`).

    For speed only: W workers with one thread per core each would compete for the cores. Results do not depend on the
    number of threads, and a fork after cv2 has used its threads works.

    Args:
        worker_id: Not used; the DataLoader passes it.
    """
    cv2.setNumThreads(0)  # 0: no threads of its own
