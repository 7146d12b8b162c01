"""A generated world whose depth is exact, written as the published data sets are: for demos, tests and measurements.

    dice, params -> town | room -> scene        what is there, drawn from a seed
    pose -> camera                              where it is seen from
    scene, camera -> view                       raycast: depth; appearance (patch, surfaces, texture): colours
    view -> diode | megadepth -> delivery       the published layout, with its traps: as folders or archives

Knows nothing of shards: it writes what a user would have downloaded. Traps are the irregularities of the published
data, such as files that belong to no sample.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from sharding.cli import Outcome
from sharding.config import ToyworldConfig
from sharding.errors import UsageError
from sharding.toyworld.delivery import deliver
from sharding.toyworld.diode import write_split
from sharding.toyworld.megadepth import ROOT, write_photos
from sharding.toyworld.params import PARAMS, Params
from sharding.toyworld.scene import Camera, Scene, Shape, Solid, stack_solids
from sharding.toyworld.town import make_town, open_ground
from sharding.toyworld.view import View, plane_depth, render

__all__ = [
    "PARAMS",
    "Camera",
    "Params",
    "Scene",
    "Shape",
    "Solid",
    "View",
    "make_diode",
    "make_megadepth",
    "make_town",
    "open_ground",
    "plane_depth",
    "render",
    "run",
    "stack_solids",
]

_SMALLEST_PX = 16
_VAL_SHARE = 5

PathLike = str | os.PathLike[str]


def run(config: ToyworldConfig) -> Outcome:
    """Run `depthstream toyworld`.

    Raises:
        UsageError: Sizes or counts make no sense, or the folder already holds such a data set.
    """
    make = {"megadepth": make_megadepth, "diode": make_diode}[config.layout]
    size = {"height": config.height, "width": config.width}
    counts = make(config.out, images=config.images, seed=config.seed, archive=config.archive, **size)
    data: dict[str, Any] = {"out": config.out, "layout": config.layout, "seed": config.seed, **size, "counts": counts}
    held = ", ".join(f"{count} {name}" for name, count in counts.items())
    return Outcome(data=data, text=f"{config.out}: {config.layout} of {config.height} x {config.width} px: {held}")


def make_megadepth(
    out: PathLike, *, images: int, height: int = 64, width: int = 96, seed: int = 0, archive: bool = False
) -> dict[str, int]:
    """Write a MegaDepth tree (or its archive) with `images` photographs below `out`.

    The same arguments give the same bytes, and photograph i is the same whatever `images` is. From 24 photographs on,
    every trap of the layout is there.

    Returns:
        How many photographs there are, and how often each trap was laid.

    Raises:
        UsageError: Sizes or counts make no sense, or `out` already holds such a data set.
    """
    _check(images, height, width, seed)

    def build(root: Path) -> Counter[str]:
        return write_photos(root, seed, images, (height, width))

    return dict(deliver(Path(out), [ROOT.parts[0]], build, seed if archive else None))


def make_diode(
    out: PathLike, *, images: int, height: int = 64, width: int = 96, seed: int = 0, archive: bool = False
) -> dict[str, int]:
    """Write a DIODE tree (or its archives): `images` train views, a fifth as many val views more, below `out`.

    The same arguments give the same bytes, and view i is the same whatever `images` is. From 8 views of a split on,
    every trap of the layout is in it.

    Returns:
        How many views there are of each split and kind, and how often each trap was laid.

    Raises:
        UsageError: Sizes or counts make no sense, or `out` already holds such a data set.
    """
    _check(images, height, width, seed)

    def build(root: Path) -> Counter[str]:
        """Write both splits."""
        train, val = images, max(images // _VAL_SHARE, 1)
        counts = Counter(train=train, val=val)
        counts += write_split(root, "train", seed, train, (height, width))
        counts += write_split(root, "val", seed, val, (height, width))
        return counts

    return dict(deliver(Path(out), ["train", "val"], build, seed if archive else None))


def _check(images: int, height: int, width: int, seed: int) -> None:
    if images < 1:
        raise UsageError(f"images: expected 1 or more, found {images}")
    if min(height, width) < _SMALLEST_PX:
        raise UsageError(f"height and width: expected {_SMALLEST_PX} px or more, found {height} x {width}")
    if seed < 0:
        raise UsageError(f"seed: expected 0 or more, found {seed}")
