"""Exact depth by casting a ray through every pixel centre. Knows geometry only, no colours.

A ray is `origin + t * direction`, and every direction has length 1 along the optical axis: **t is the planar depth z**
in metres, not the length of the ray.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.params import PARAMS
from sharding.toyworld.scene import Camera, Reals, Scene, Shape, Solids

Floats = NDArray[np.float64]

PixelWindow = tuple[slice, slice]
"""Rows and columns."""

SKY, BACKDROP, FIRST_SOLID = -1, 0, 1
"""Values of `Hits.surface`: nothing; the ground or the room; solid k is `FIRST_SOLID + k`."""

_NEAR_M = 1e-6  # what is nearer than this counts as touching or behind the camera


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rays:
    """One ray a pixel.

    Attributes:
        origin: float64 (3,), where the camera is, metres.
        axes: float64 (3, 3), rows: right, down, forward, as unit vectors of the world.
        direction: float64 (3, H, W), 1 m along the optical axis.
        focal_px: Focal length.
    """

    origin: Floats
    axes: Floats
    direction: Floats
    focal_px: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hits:
    """What each ray meets first.

    Attributes:
        depth: float64 (H, W), planar z in metres; inf where nothing is met.
        surface: int32 (H, W): `SKY`, `BACKDROP` or `FIRST_SOLID + k`.
    """

    depth: Floats
    surface: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lines:
    """Rays of any origins, ready to be cut with boxes; float64 for depth, float32 for shadows.

    Attributes:
        origin: (3, ...), metres.
        direction: (3, ...).
        inverse: (3, ...), 1 / direction.
    """

    origin: Reals
    direction: Reals
    inverse: Reals

    def part(self, window: PixelWindow) -> "Lines":
        """Return the lines of a part of the image; they share an origin."""
        return Lines(origin=self.origin, direction=self.direction[:, *window], inverse=self.inverse[:, *window])


def focal_px(height: int, width: int) -> float:
    """Return the focal length in pixels, the same in both directions."""
    return PARAMS.focal * max(height, width)


def camera_axes(camera: Camera) -> Floats:
    """Return float64 (3, 3): the camera's right, down and forward in the world."""
    yaw, pitch, roll = np.deg2rad([camera.yaw_deg, camera.pitch_deg, camera.roll_deg])
    # World axes: x east, y north, z up. Yaw is clockwise from north: at 90 degrees right is south, ahead is east.
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    ahead = np.array([np.sin(yaw), np.cos(yaw), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    forward = np.cos(pitch) * ahead + np.sin(pitch) * up
    down = np.sin(pitch) * ahead - np.cos(pitch) * up
    # Roll turns right towards down: clockwise, seen from behind the camera.
    return np.stack([np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right, forward])


def camera_rays(camera: Camera, height: int, width: int) -> Rays:
    """Return the rays through the pixel centres of a view of `height` x `width` pixels."""
    focal = focal_px(height, width)
    axes = camera_axes(camera)
    # Pixel centres, 1 m ahead: x (1, 1, W) and y (1, H, 1) in metres; with axes (3, 1, 1) they make (3, H, W).
    x = ((np.arange(width) + 0.5 - width / 2) / focal)[None, None, :]
    y = ((np.arange(height) + 0.5 - height / 2) / focal)[None, :, None]
    right, down, forward = (axis[:, None, None] for axis in axes)
    origin = np.array([camera.x_m, camera.y_m, camera.height_m])
    return Rays(origin=origin, axes=axes, direction=forward + x * right + y * down, focal_px=focal)


def cast(scene: Scene, rays: Rays) -> Hits:
    """Find what each ray meets first: the ground or room, or a solid before it."""
    depth = _room_depth(scene.room.half, rays) if scene.room else ground_depth(rays)
    surface = np.where(np.isfinite(depth), BACKDROP, SKY).astype(np.int32)
    lines = make_lines(rays.origin[:, None, None], rays.direction)
    for number, nearest_m, window in iter_windows(scene.solids, rays):
        seen = depth[window]  # a view: what is copied into it changes `depth`
        # Solids come in front to back, so most hidden ones are behind all that is seen in their window.
        if seen.max() > nearest_m:
            entry = enter_solid(scene.solids, number, lines.part(window))
            closer = entry < seen
            np.copyto(seen, entry, where=closer)
            np.copyto(surface[window], FIRST_SOLID + number, where=closer)
    return Hits(depth=depth, surface=surface)


def ground_depth(rays: Rays) -> Floats:
    """Return float64 (H, W): where rays meet z = 0; inf for those that do not fall."""
    # Height over the ground divided by the fall per metre of depth.
    fall = -rays.direction[2]
    return np.asarray(np.divide(rays.origin[2], fall, out=np.full(fall.shape, np.inf), where=fall > 0))


def make_lines(origin: Reals, direction: Reals) -> Lines:
    """Return the lines through `origin` (3, ...) along `direction` (3, ...)."""
    with np.errstate(divide="ignore"):
        # 1 / 0 is inf: a line parallel to a slab is then within it for all t or for none.
        return Lines(origin=origin, direction=direction, inverse=1.0 / direction)


def enter_solid(solids: Solids, number: int, lines: Lines) -> Reals:
    """Return where lines enter solid `number`: (...), t in units of `lines.direction`.

    It is inf for lines that miss the solid, start inside or leave it behind.
    """
    kind, ndim = lines.origin.dtype, lines.origin.ndim
    turn = solids.turn[number].astype(kind)
    centre, half = (_column(values[number], ndim).astype(kind) for values in (solids.centre, solids.half))
    start = lines.origin - centre
    if solids.shape[number] == Shape.BALL:
        # A linear map does not change t: divided by the half sizes, the ellipsoid is the unit ball.
        return _enter_ball(to_local(start, turn) / half, to_local(lines.direction, turn) / half)
    # Most boxes are not turned, nor need their lines be.
    if turn[1] == 0.0:
        local = Lines(origin=start, direction=lines.direction, inverse=lines.inverse)
    else:
        local = make_lines(to_local(start, turn), to_local(lines.direction, turn))
    enter, leave = cut_box(local, half)
    return np.where((enter < leave) & (enter > _NEAR_M), enter, np.inf)


def cut_box(lines: Lines, half: Reals) -> tuple[Reals, Reals]:
    """Return where lines enter and leave a box around the origin (the slab method).

    Args:
        lines: (3, ...), in the axes of the box.
        half: Half sizes, broadcast against them.

    Returns:
        Two of shape (...): t at which they enter and leave; lines that miss the box leave before they enter.
    """
    with np.errstate(invalid="ignore"):
        # t at the two planes of each slab, (3, ...). A line within a plane gives 0 * inf = NaN, and `enter < leave` is
        # then false: a miss.
        low, high = (-half - lines.origin) * lines.inverse, (half - lines.origin) * lines.inverse
    near, far = np.minimum(low, high), np.maximum(low, high)
    # Twice as fast as reducing the first axis.
    return np.maximum(np.maximum(near[0], near[1]), near[2]), np.minimum(np.minimum(far[0], far[1]), far[2])


def to_local(vector: Reals, turn: Reals | tuple[Reals, Reals]) -> Any:
    """Turn vectors (3, ...) of the world into the axes of solids whose yaws have the cosine and sine `turn`."""
    cosine, sine = turn
    x = cosine * vector[0] + sine * vector[1]
    turned = np.empty((3, *x.shape), x.dtype)
    turned[0], turned[1], turned[2] = x, cosine * vector[1] - sine * vector[0], vector[2]
    return turned


def iter_windows(solids: Solids, rays: Rays) -> Iterator[tuple[int, float, PixelWindow]]:
    """Yield each solid that may be in view, its smallest planar z, and the part of the image that it may cover."""
    height, width = rays.direction.shape[1:]
    corners = _corners(solids, rays)  # (K, 8, 3): right, down, forward
    ahead = np.asarray(corners[..., 2] > _NEAR_M)
    # A solid that reaches behind the camera has no bounded projection: its windows are the whole image.
    whole = np.asarray(np.all(ahead, axis=1))[:, None, None]
    projected = np.where(whole, corners / np.maximum(corners[..., 2:], _NEAR_M), np.nan)
    # Pinhole projection in pixels, the principal point in the image centre; (K, 8) -> (K, 2).
    rows = _spans(projected[..., 1] * rays.focal_px + height / 2, height)
    columns = _spans(projected[..., 0] * rays.focal_px + width / 2, width)
    seen = _in_frustum(corners, rays) & (rows[:, 0] < rows[:, 1]) & (columns[:, 0] < columns[:, 1])
    nearest = corners[..., 2].min(axis=1)
    chosen = np.flatnonzero(seen)
    chosen = chosen[np.argsort(nearest[chosen], kind="stable")]  # those in front first: the others are skipped
    for number in chosen.tolist():
        yield number, float(nearest[number]), (slice(*rows[number].tolist()), slice(*columns[number].tolist()))


def _room_depth(half: tuple[float, float, float], rays: Rays) -> Floats:
    """Return float64 (H, W): where rays from inside a room meet its floor, walls or ceiling."""
    centre = np.array([0.0, 0.0, half[2]])
    lines = make_lines(_column(rays.origin - centre, 3), rays.direction)
    return np.asarray(cut_box(lines, _column(np.array(half), 3))[1], np.float64)


def _enter_ball(origin: Reals, direction: Reals) -> Reals:
    """Return where rays enter the unit ball: the smaller root of |origin + t direction| = 1."""
    # a t^2 + 2 b t + (c - 1) = 0, per line (...).
    a, b, c = (_dot(*pair) for pair in ((direction, direction), (origin, direction), (origin, origin)))
    rest = b * b - a * (c - 1.0)
    entry = (-b - np.sqrt(np.maximum(rest, 0.0))) / a
    return np.where((rest > 0) & (entry > _NEAR_M), entry, np.inf)


def _dot(one: Reals, other: Reals) -> Reals:
    return np.asarray(one[0] * other[0] + one[1] * other[1] + one[2] * other[2])


def _corners(solids: Solids, rays: Rays) -> Floats:
    """Return float64 (K, 8, 3): the corners of the solids' boxes along the camera's right, down and forward."""
    # (8, 3) * (K, 1, 3) -> (K, 8, 3): corners in the axes of each solid, then of the world, then of the camera.
    signs = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], indexing="ij"), axis=-1).reshape(8, 3)
    local = signs * solids.half[:, None, :]
    cosine, sine = solids.turn[:, None, 0], solids.turn[:, None, 1]
    x, y = cosine * local[..., 0] - sine * local[..., 1], sine * local[..., 0] + cosine * local[..., 1]
    world = np.stack([x, y, local[..., 2]], axis=-1) + solids.centre[:, None, :] - rays.origin
    return np.asarray(world @ rays.axes.T)


def _in_frustum(corners: Floats, rays: Rays) -> NDArray[np.bool_]:
    """Return bool (K,): False where all corners lie behind the camera or beyond one side of the view."""
    height, width = rays.direction.shape[1:]
    # Within the right side if x * focal < z * width / 2, without a division by z, which may be 0 or negative.
    sides = corners[..., :2] * rays.focal_px, corners[..., 2:] * np.array([width / 2, height / 2])
    # (K, 8, 5): right, bottom, left, top, in front. A solid may be seen if each has at least one corner inside.
    inside = np.concatenate([sides[0] < sides[1], sides[0] > -sides[1], corners[..., 2:] > _NEAR_M], axis=-1)
    return np.asarray(np.all(inside.any(axis=1), axis=1))


def _spans(position: Floats, size: int) -> NDArray[np.int64]:
    """Return int64 (K, 2), first and behind the last pixel, for (K, 8) projected corners; all of them for NaN."""
    # Pixel i has its centre at i + 0.5; rounding outwards leaves a margin against rounding errors.
    first, last = np.floor(position.min(axis=1) - 0.5), np.ceil(position.max(axis=1) + 0.5)
    span = np.stack([np.nan_to_num(first, nan=0.0), np.nan_to_num(last, nan=float(size))], axis=-1)
    return np.asarray(np.clip(span, 0, size), np.int64)


def _column(values: Floats, ndim: int) -> Floats:
    """Shape (3,) values so that they broadcast against (3, ...) of `ndim` dimensions."""
    return values.reshape(3, *[1] * (ndim - 1))
