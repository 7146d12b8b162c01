"""Paired augmentation: one affine map (training/loading/warp.py), applied to image, depth and valid together.

Every output pixel is sampled once, from the original arrays. The image is bilinear, and mirrored beyond its border (no
black wedges to learn from). Depth and valid take the pixel whose square contains the point, by the same index map:
depth is never interpolated, and is invalid outside the source. Depth is divided by the zoom: an object that looks
`zoom` times larger is `zoom` times nearer.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError, UsageError
from sharding.format.sample import Sample
from training.loading.warp import BOX_RATIOS, MAX_SIDE_PX, Pose, Warp, compose_warp, nearest_source, shift, stretch

_Pixel = TypeVar("_Pixel", np.float32, np.uint8)

_BOXES = 10  # that torchvision's `RandomResizedCrop` tries

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the luma (ITU-R BT.601)."""


def apply_warp(sample: Sample, warp: Warp) -> Sample:
    """Apply one warp to image, depth and valid of a sample.

    Args:
        sample: Image uint8 (H, W, 3), depth float32 (H, W), valid bool (H, W), of the size the warp was composed for.
        warp: From `compose_warp`.

    Returns:
        The sample at (height, width); its own arrays if the warp changes nothing. Depth is source depth / zoom;
        valid is False, and depth 0, where the pixel is outside the source.

    Raises:
        DataError: Image, depth and valid differ in size, or a side is longer than `MAX_SIDE_PX`.
    """
    _check_sizes(sample)
    if sample.image.shape[:2] == (warp.height, warp.width) and np.array_equal(warp.matrix, np.eye(3)):
        return sample
    index = nearest_source(warp)  # ONE map for depth and valid, so that they stay aligned
    depth = None if sample.depth is None else _take(sample.depth, index) / np.float32(warp.zoom)
    # cv2.remap takes no bool, whose bytes are 0 and 1.
    valid = None if sample.valid is None else _take(sample.valid.view(np.uint8), index).view(np.bool_)
    return replace(sample, image=warp_image(sample.image, warp), depth=depth, valid=valid)


def _take(source: NDArray[_Pixel], index: NDArray[np.int16]) -> NDArray[_Pixel]:
    # With an integer map cv2.remap copies pixels; outside the source it writes 0.
    taken = cv2.remap(source, index, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)  # type: ignore[call-overload]
    return np.asarray(taken, dtype=source.dtype)


def _check_sizes(sample: Sample) -> None:
    height, width = sample.image.shape[:2]
    for name, array in (("depth", sample.depth), ("valid", sample.valid)):
        if array is not None and array.shape != (height, width):
            raise DataError(
                f"sample {sample.key}: the image is {height} x {width} pixels, so {name} must have shape "
                f"({height}, {width}), but it has {array.shape}; make the shards again from matching files"
            )
    if max(height, width) > MAX_SIDE_PX:
        raise DataError(f"sample {sample.key}: {height} x {width} pixels; the warp takes up to {MAX_SIDE_PX} a side")


def warp_image(image: NDArray[np.uint8], warp: Warp) -> NDArray[np.uint8]:
    """Apply a warp to an image: bilinear, mirrored beyond the border, area-averaged first where it shrinks.

    Args:
        image: uint8 (H, W, 3).
        warp: From `compose_warp`.

    Returns:
        uint8 (height, width, 3).
    """
    height, width = image.shape[:2]
    # Bilinear sampling looks at 4 pixels and would alias: the area average shrinks, the warp then has about scale 1.
    source = _shrink(image, *warp.magnification)
    resized = stretch(source.shape[1] / width, source.shape[0] / height)  # not the factor itself: sides were rounded
    # cv2 has the origin at the centre of the first pixel, `Warp` at its corner.
    matrix = shift(-0.5, -0.5) @ resized @ warp.matrix @ shift(0.5, 0.5)
    warped = cv2.warpAffine(
        source,
        matrix[:2],
        (warp.width, warp.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,  # the matrix maps output to source
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, dtype=np.uint8)


def resize_image(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize an image by a factor, as training does: area average to shrink, bilinear to enlarge.

    Evaluation makes the input of a network that was trained with `scale` this way; ground truth is never resized.

    Args:
        image: uint8 (H, W, 3).
        scale: > 0.

    Returns:
        uint8 (round(H * scale), round(W * scale), 3), at least 1 x 1; `image` itself if the size is the same.
    """
    return _resize(image, scale, scale)


def _shrink(image: NDArray[np.uint8], down: float, across: float) -> NDArray[np.uint8]:
    """Shrink an image by a factor along each axis; a factor above 1 leaves that axis as it is."""
    return _resize(image, min(down, 1.0), min(across, 1.0))


def _resize(image: NDArray[np.uint8], down: float, across: float) -> NDArray[np.uint8]:
    height, width = (max(round(side * by), 1) for side, by in zip(image.shape[:2], (down, across), strict=True))
    if (height, width) == image.shape[:2]:
        return image
    how = cv2.INTER_AREA if min(down, across) < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


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
        source = (sample.image.shape[0], sample.image.shape[1])
        warped = apply_warp(sample, compose_warp(self.draw_pose(rng), source, (self.height, self.width), self.scale))
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        # Always three draws, whatever the strengths, like the five of the pose.
        brightness, contrast, saturation = (1 + strengths * rng.uniform(-1, 1, size=3)).tolist()
        return replace(warped, image=jitter_colour(warped.image, brightness, contrast, saturation))

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
