"""What is drawn for views: boxes, angles, factors. A function of seeds and image sizes, computed for a whole batch.

A view has `_COUNT` uniform numbers of its own, each with a fixed use, whether it is used or not. Distributions are
those of albumentations 2.0.8.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training.views.recipe import Blur, Jitter, Range, ViewRecipe

Array = NDArray[np.float64]

ORDERS = tuple(itertools.permutations(range(4)))
"""Orders of brightness (0), contrast (1), saturation (2) and hue (3)."""

_TRIES = 10  # boxes that are drawn until one fits into the image
# First of the uniform numbers of each use.
_BOX, _PLACE, _FLIPS, _ROTATION, _JITTER, _GREY, _BLUR, _SOLARIZE = 0, 20, 22, 24, 26, 32, 33, 36
_COUNT = 38


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What is drawn for views, float64 (B, V) each: images, views of an image.

    What is not applied has the value that changes nothing.

    Attributes:
        left, top, width, height: Box of the crop, whole pixels of the original image.
        horizontal, vertical: 1 where the view is flipped, else 0.
        angle: Of the rotation, degrees; 0: none.
        brightness, contrast, saturation: Factors; 1: none.
        hue: Shift in turns; 0: none.
        order: Index in `ORDERS`.
        grey: 1 where the view becomes grey, else 0.
        sigma: Of the blur, pixels; 0: none.
        side: Of its kernel, pixels, odd; 1: none.
        threshold: Level, 0 to 1, from which on levels are inverted; infinity: none.
    """

    left: Array
    top: Array
    width: Array
    height: Array
    horizontal: Array
    vertical: Array
    angle: Array
    brightness: Array
    contrast: Array
    saturation: Array
    hue: Array
    order: Array
    grey: Array
    sigma: Array
    side: Array
    threshold: Array

    def pack(self) -> Array:
        """Return one array (..., number of fields)."""
        return np.stack([getattr(self, one.name) for one in fields(self)], axis=-1)

    @classmethod
    def unpack(cls, packed: Array) -> "Draws":
        """Return the draws that `pack` packed."""
        return cls(**{one.name: packed[..., at] for at, one in enumerate(fields(cls))})

    def select(self, numbers: Sequence[int]) -> "Draws":
        """Return the draws of some views of all images, (len(numbers) * B,), view by view."""
        return Draws(**{one.name: getattr(self, one.name)[:, numbers].T.reshape(-1) for one in fields(self)})

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Draws":
        """Return some of the draws."""
        return Draws(**{one.name: getattr(self, one.name)[index] for one in fields(self)})


def draw_views(recipe: Sequence[ViewRecipe], seeds: Sequence[Sequence[int]], sizes: NDArray[np.int64]) -> Draws:
    """Draw for B images all that their V views need.

    Args:
        recipe: Of each view.
        seeds: Of each image; a sequence of non-negative integers.
        sizes: (B, 2) height and width of each image, pixels.
    """
    # (B, V, _COUNT), uniform in [0, 1)
    uniform = np.stack([np.random.default_rng(seed).random((len(recipe), _COUNT)) for seed in seeds])
    drawn = [_draw_view(view, uniform[:, number], sizes) for number, view in enumerate(recipe)]
    return Draws(**{one.name: np.stack([view[one.name] for view in drawn], axis=1) for one in fields(Draws)})


def _draw_view(view: ViewRecipe, uniform: Array, sizes: NDArray[np.int64]) -> dict[str, Array]:
    """Draw one view of B images: name -> float64 (B,)."""
    rotated = uniform[:, _ROTATION] < view.rotation.p
    solarized = uniform[:, _SOLARIZE] < view.solarize.p
    return {
        **_draw_box(view, uniform, sizes),
        "horizontal": (uniform[:, _FLIPS] < view.horizontal).astype(np.float64),
        "vertical": (uniform[:, _FLIPS + 1] < view.vertical).astype(np.float64),
        "angle": np.where(rotated, _within(view.rotation.degrees, uniform[:, _ROTATION + 1]), 0.0),
        **_draw_jitter(view.jitter, uniform[:, _JITTER:_GREY]),
        "grey": (uniform[:, _GREY] < view.grey).astype(np.float64),
        **_draw_blur(view.blur, uniform[:, _BLUR:_SOLARIZE]),
        "threshold": np.where(solarized, _within(view.solarize.threshold, uniform[:, _SOLARIZE + 1]), np.inf),
    }


def _draw_box(view: ViewRecipe, uniform: Array, sizes: NDArray[np.int64]) -> dict[str, Array]:
    image_height, image_width = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)  # (B, 1)
    if view.scale is None:
        zero = np.zeros(len(sizes))
        return {"left": zero, "top": zero, "width": image_width[:, 0], "height": image_height[:, 0]}
    area = _within(view.scale, uniform[:, _BOX:_PLACE:2]) * (image_height * image_width)  # (B, _TRIES)
    low, high = view.ratio
    ratio = np.exp(_within((np.log(low), np.log(high)), uniform[:, _BOX + 1 : _PLACE : 2]))
    width, height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (width > 0) & (width <= image_width) & (height > 0) & (height <= image_height)
    first, place = fits.argmax(axis=1), np.arange(len(sizes))
    found = fits.any(axis=1)
    whole = _centre_box(view.ratio, image_height[:, 0], image_width[:, 0])
    width = np.where(found, width[place, first], whole[0])
    height = np.where(found, height[place, first], whole[1])
    down, across = uniform[:, _PLACE], uniform[:, _PLACE + 1]
    free_height, free_width = image_height[:, 0] - height, image_width[:, 0] - width
    return {
        "left": np.floor(np.where(found, (free_width + 1) * across, free_width / 2)),
        "top": np.floor(np.where(found, (free_height + 1) * down, free_height / 2)),
        "width": width,
        "height": height,
    }


def _centre_box(ratio: Range, height: Array, width: Array) -> tuple[Array, Array]:
    """Return width and height of the box that is taken when none fits: the largest within the range of ratios."""
    low, high = ratio
    narrow, wide = width / height < low, width / height > high
    return np.where(wide, np.rint(height * high), width), np.where(narrow, np.rint(width / low), height)


def _draw_jitter(jitter: Jitter, uniform: Array) -> dict[str, Array]:
    applied = uniform[:, 0] < jitter.p
    return {
        "brightness": np.where(applied, _within(jitter.brightness, uniform[:, 1]), 1.0),
        "contrast": np.where(applied, _within(jitter.contrast, uniform[:, 2]), 1.0),
        "saturation": np.where(applied, _within(jitter.saturation, uniform[:, 3]), 1.0),
        "hue": np.where(applied, _within(jitter.hue, uniform[:, 4]), 0.0),
        "order": np.floor(uniform[:, 5] * len(ORDERS)),
    }


def _draw_blur(blur: Blur, uniform: Array) -> dict[str, Array]:
    applied, sigma = uniform[:, 0] < blur.p, _within(blur.sigma, uniform[:, 1])
    least, most = blur.side
    side = least + np.floor(uniform[:, 2] * (most - least + 1))
    side = np.where(side == 0, np.floor(sigma * 3.5) * 2 + 1, side + (side % 2 == 0))
    return {"sigma": np.where(applied, sigma, 0.0), "side": np.where(applied, side, 1.0)}


def _within(limits: Range, uniform: Array) -> Array:
    low, high = limits
    return low + (high - low) * uniform
