"""The two augmentations of the depth estimation tutorial, as arguments of LightlyTrain."""

import copy
from collections.abc import Mapping
from typing import Any

from sharding.errors import UsageError

# From LightlyTrain's depth estimation tutorial. Outdoors, far is up: the conservative views keep that.
AUGMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "conservative": {
        "random_flip": {"vertical_prob": 0.0, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 15},
    },
    "aggressive": {
        "random_flip": {"vertical_prob": 0.5, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 90},
    },
}


def get_transform_args(
    augmentation: str, *, vertical_flip: float | None = None, rotation: float | None = None
) -> dict[str, Any]:
    """Return the tutorial's `transform_args` for `lightly_train.pretrain`, a copy that the caller may change.

    Args:
        augmentation: "conservative" (tilts to 15 degrees, no vertical flip) or "aggressive" (to 90, vertical flips).
        vertical_flip: Probability of a vertical flip, 0..1, in place of the augmentation's.
        rotation: Largest angle in degrees, to either side, in place of the augmentation's; 0: no rotation.

    Raises:
        UsageError: There is no such augmentation.
    """
    if augmentation not in AUGMENTATIONS:
        raise UsageError(f"no augmentation {augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
    args = copy.deepcopy(dict(AUGMENTATIONS[augmentation]))
    if vertical_flip is not None:
        args["random_flip"]["vertical_prob"] = vertical_flip
    if rotation is not None:
        args["random_rotation"] = {"prob": 1.0, "degrees": rotation} if rotation else None
    return args
