"""How `predict` sees photos: their focal length, and how much of one at once; nothing heavy imported."""

from dataclasses import dataclass

from sharding.options import option

MIN_TILE_PIXELS = 1 << 16
"""Smallest tiles: less is little for a network to go by, and their overlaps need sides of 128 pixels."""

TILE_PIXELS = 1 << 20
"""Pixels that a network is given at once: a view of DIODE and a third more; 2 GB of activations with a ResNet-18."""


@dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """Options of the command that predicts photos."""

    focal_px: float | None = option(
        None, "focal length of the images in their pixels (default: what their EXIF data tell)", metavar="PX", above=0
    )
    camera_focal_px: float | None = option(
        None,
        "focal length of the training images in their pixels (default: what the checkpoint tells)",
        metavar="PX",
        above=0,
    )
    tile_pixels: int = option(
        TILE_PIXELS,
        "most pixels that are predicted at once, at the resolution of the network (`finetune --scale`); larger images "
        "are predicted in overlapping tiles",
        metavar="N",
        least=MIN_TILE_PIXELS,
    )
