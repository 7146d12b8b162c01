"""A view: picture and exact depth of a scene through a camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.appearance import paint
from sharding.toyworld.params import PARAMS
from sharding.toyworld.raycast import camera_rays, cast, ground_depth
from sharding.toyworld.scene import Camera, Scene


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """What a camera sees.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        depth: float32 (H, W), planar z in metres, exact to float32; 0 where `valid` is False.
        valid: bool (H, W), False for the sky and beyond the sensor's range.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    valid: NDArray[np.bool_]


def render(scene: Scene, camera: Camera, height: int, width: int) -> View:
    """Render `scene` through `camera` at `height` x `width` pixels; a pure function of its arguments."""
    rays = camera_rays(camera, height, width)
    hits = cast(scene, rays)
    valid = hits.depth <= PARAMS.max_range_m
    depth = np.where(valid, hits.depth, 0.0).astype(np.float32)
    return View(image=paint(scene, rays, hits), depth=depth, valid=valid)


def plane_depth(camera: Camera, height: int, width: int) -> NDArray[np.float32]:
    """Return float32 (H, W): planar z of the open ground in metres; 0 for the sky and beyond the sensor's range.

    This is the depth of `render(open_ground(), camera, height, width)`, from the closed form alone.
    """
    depth = ground_depth(camera_rays(camera, height, width))
    return np.where(depth <= PARAMS.max_range_m, depth, 0.0).astype(np.float32)
