"""The augmentation of the training views, from the options."""

import math
from typing import Any

from sharding.errors import UsageError
from sharding.escaping import shorten
from sharding.plain import FLOAT
from training.depth_options import AugmentOptions
from training.loading.augment import PairedAugment

TUTORIAL_AREA = (0.2, 0.9)
"""Least and largest share of the image that a crop of the tutorial shows (its `RandomResizedCrop(scale=...)`)."""


def make_augment(config: AugmentOptions) -> PairedAugment:
    """Build the augmentation that the options describe.

    Raises:
        UsageError: A value is out of its range, or --zoom is given with --augment tutorial.
    """
    given: dict[str, Any] = {"max_rotation_deg": config.rotation, "flip_prob": config.flip}
    if config.zoom is not None:
        given["zoom"] = parse_zoom(config.zoom)
    if config.jitter is not None:
        given |= dict(zip(("brightness", "contrast", "saturation"), parse_jitter(config.jitter), strict=True))
    if config.augment == "tutorial":
        if config.zoom is not None:
            raise UsageError(
                f"--zoom {shorten(config.zoom, 60)}: the crop of --augment tutorial has a zoom of its own, which the "
                "depth does not follow; leave --zoom out, or give --augment ours"
            )
        still = {"zoom": (1.0, 1.0), "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
        given = still | {"crop_area": TUTORIAL_AREA} | given
    chosen = {name: value for name, value in given.items() if value is not None}
    return PairedAugment(height=config.height, width=config.width, scale=config.scale, **chosen)


def parse_zoom(text: str) -> tuple[float, float]:
    """Read LOW,HIGH.

    Raises:
        UsageError: It is not two numbers from 0.01 to 100, the smaller one first.
    """
    numbers = _numbers(text)
    if len(numbers) != 2 or not 0.01 <= numbers[0] <= numbers[1] <= 100:
        raise UsageError(
            f"--zoom {shorten(text, 60)}: expected the least and the largest zoom, from 0.01 to 100, such as 1,1.5"
        )
    return numbers[0], numbers[1]


def parse_jitter(text: str) -> tuple[float, float, float]:
    """Read B,C,S; one number is for all three.

    Raises:
        UsageError: It is not three numbers from 0 to below 1.
    """
    numbers = _numbers(text)
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    if len(numbers) != 3 or not all(0 <= number < 1 for number in numbers):
        raise UsageError(
            f"--jitter {shorten(text, 60)}: expected the changes of brightness, contrast and saturation, each from 0 "
            "to below 1, such as 0.2,0.2,0.2"
        )
    return numbers[0], numbers[1], numbers[2]


def _numbers(text: str) -> list[float]:
    """Read numbers with commas between them; [] if one is none, or is not finite."""
    parts = [part.strip() for part in text.split(",")]
    if not all(FLOAT.fullmatch(part) and math.isfinite(float(part)) for part in parts):
        return []
    return [float(part) for part in parts]
