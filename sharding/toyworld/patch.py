"""Points on surfaces, with coordinates to paint by and the footprint of a pixel there. Knows no colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.raycast import Floats, Rays, to_local
from sharding.toyworld.scene import Reals

Box = tuple[Reals, Reals, Reals]
"""The solid of each point: centre and half sizes in metres (3, N), cosine and sine of its yaw (2, N); float32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """N points that rays meet; float32, which is enough to paint by.

    Attributes:
        position: float32 (3, N), metres.
        direction: float32 (3, N), of their rays, 1 m along the optical axis.
        distance: float32 (N,), from the camera, metres.
        metres_px: float32 (N,), metres that a pixel covers on a surface that faces the camera.
        steps: Two float32 (3, 1): the camera's right and down.
    """

    position: Reals
    direction: Reals
    distance: Reals
    metres_px: Reals
    steps: tuple[Reals, Reals]


def find_points(rays: Rays, depth: Floats, pixels: NDArray[np.bool_]) -> Points:
    """Return the points that the rays of `pixels`, bool (H, W), meet at `depth`, float64 (H, W) in metres."""
    direction, z = rays.direction[:, pixels].astype(np.float32), depth[pixels].astype(np.float32)
    right, down = (axis[:, None].astype(np.float32) for axis in rays.axes[:2])
    return Points(
        position=rays.origin.astype(np.float32)[:, None] + z * direction,
        direction=direction,
        distance=z * np.sqrt((direction * direction).sum(axis=0)),
        metres_px=z / np.float32(rays.focal_px),
        steps=(right, down),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patch:
    """N points of surfaces, flattened, with coordinates to paint by.

    Attributes:
        normal: float32 (3, N), unit vectors of the world.
        across: float32 (N,), position along the surface, level; metres.
        upward: float32 (N,), position along the surface, the other way (height, on walls); metres.
        across_px: float32 (N,), metres of `across` that a pixel covers.
        upward_px: float32 (N,), metres of `upward` that a pixel covers.
        facing: int8 (N,), 0 or 1 for walls (along x, along y), 2 for level surfaces.
    """

    normal: Reals
    across: Reals
    upward: Reals
    across_px: Reals
    upward_px: Reals
    facing: NDArray[np.int8]


def box_patch(points: Points, box: Box) -> Patch:
    """Describe points on faces of boxes."""
    centre, half, turn = box
    local = to_local(points.position - centre, turn)
    # (N,): on a face the coordinate along its axis is the half size, so this ratio is 1, and smaller for the others.
    facing = np.abs(local / half).argmax(axis=0)
    side = np.sign(_along(local, facing))
    way = to_local(points.direction, turn)
    right, down = (_footprint(way, to_local(step, turn), facing) for step in points.steps)
    # (3, N) metres that the point moves on its face for a step of one pixel right and one down.
    spread = (right + down) * points.metres_px
    local[2] += centre[2]  # height over the ground: storeys begin there
    return Patch(
        normal=_face_normal(facing, side, turn),
        across=np.where(facing == 0, local[1], local[0]),
        upward=np.where(facing == 2, local[1], local[2]),
        across_px=np.where(facing == 0, spread[1], spread[0]),
        upward_px=np.where(facing == 2, spread[1], spread[2]),
        facing=facing.astype(np.int8),
    )


def ball_patch(points: Points, box: Box) -> Patch:
    """Describe points on ellipsoids."""
    centre, half, (cosine, sine) = box
    local = to_local(points.position - centre, (cosine, sine))
    # The gradient of |local / half|^2 is normal to the ellipsoid; turned back into the axes of the world.
    steep = local / half**2
    normal = np.stack([cosine * steep[0] - sine * steep[1], sine * steep[0] + cosine * steep[1], steep[2]])
    normal /= np.sqrt((normal * normal).sum(axis=0))
    return Patch(
        normal=normal,
        # Both slanted with the height: level coordinates alone would draw the pattern out into streaks down the sides.
        across=local[0] + 0.7 * local[2] + centre[0],
        upward=local[1] - 0.6 * local[2] + centre[1],
        across_px=points.metres_px,
        upward_px=points.metres_px,
        facing=np.zeros(local.shape[1], np.int8),
    )


def _along(vector: Reals, facing: NDArray[np.int64]) -> Reals:
    """Return float32 (N,): the component of (3, N) vectors along the axis that each point's face looks along."""
    return np.asarray(np.where(facing == 0, vector[0], np.where(facing == 1, vector[1], vector[2])))


def _footprint(way: Reals, step: Reals, facing: NDArray[np.int64]) -> Reals:
    """Return float32 (3, N): how far the point on a face moves, at 1 m, when its ray moves by `step`."""
    # The ray moved by `step` must meet the same plane, so it is moved back along itself until it does.
    return np.asarray(np.abs(step - way * (_along(step, facing) / _along(way, facing))))


def _face_normal(facing: NDArray[np.int64], side: Reals, turn: Reals) -> Reals:
    cosine, sine = turn
    x = np.where(facing == 0, cosine, np.where(facing == 1, -sine, np.float32(0.0)))
    y = np.where(facing == 0, sine, np.where(facing == 1, cosine, np.float32(0.0)))
    return np.asarray(side * np.stack([x, y, (facing == 2).astype(np.float32)]))
