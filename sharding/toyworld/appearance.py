"""From what the rays meet to a picture: light, shadows, haze, sky. Depth is not touched here."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.params import PARAMS
from sharding.toyworld.patch import Box, Patch, Points, ball_patch, box_patch, find_points
from sharding.toyworld.raycast import BACKDROP, FIRST_SOLID, SKY, Floats, Hits, Rays, enter_solid, make_lines
from sharding.toyworld.scene import Light, Reals, Scene, Shape, Solids
from sharding.toyworld.surfaces import ground_colour, rgb, room_colour, solid_colour
from sharding.toyworld.texture import layered_noise

_LIFT_M = 1e-3  # shadow rays begin this far off a surface, which would shadow itself otherwise
_GROUND_HALF_M = 1e9  # half the side of the ground: it has no visible edge
_GRAIN = 0.006  # amplitude of sensor noise; displayed values are 0..1
_CLOUDS = ((1.5, 0.5), (0.6, 0.3), (0.25, 0.2))  # octaves; lengths in units of the height of the clouds


def paint(scene: Scene, rays: Rays, hits: Hits) -> NDArray[np.uint8]:
    """Return the picture, uint8 (H, W, 3) RGB."""
    # Linear light (H, W, 3); only the last line turns it into displayed values, by gamma 2.2, and rounds.
    light = np.zeros((*hits.depth.shape, 3), np.float32)
    sky = hits.surface == SKY
    light[sky] = _sky(scene, rays.direction[:, sky].astype(np.float32))
    for pixels, points, patch, colour in _patches(scene, rays, hits):
        if scene.room:
            light[pixels] = colour * _lamp(patch, points)
        else:
            light[pixels] = _hazed(scene.light, colour * _daylight(scene, rays, patch, points), points.distance)
    grain = _GRAIN * _grain(scene.noise, rays.origin, hits.depth.shape)
    return np.asarray(np.clip(np.clip(light, 0, 1) ** np.float32(1 / 2.2) + grain, 0, 1) * 255 + 0.5, np.uint8)


def _patches(scene: Scene, rays: Rays, hits: Hits) -> Iterator[tuple[NDArray[np.bool_], Points, Patch, Reals]]:
    """Yield pixels, points, surface and colour of the backdrop, of the boxes and of the balls, where there are any."""
    back, solid = hits.surface == BACKDROP, hits.surface >= FIRST_SOLID
    if back.any():
        points = find_points(rays, hits.depth, back)
        patch = box_patch(points, _backdrop_box(scene))
        yield back, points, patch, room_colour(scene, scene.room, patch) if scene.room else ground_colour(scene, patch)
    if solid.any():
        # Pixels without a solid look up solid 0 here, and are masked out by `solid`.
        is_ball = solid & (scene.solids.shape[np.maximum(hits.surface - FIRST_SOLID, 0)] == Shape.BALL)
        for pixels, describe in ((solid & ~is_ball, box_patch), (is_ball, ball_patch)):
            number = hits.surface[pixels] - FIRST_SOLID
            if len(number):
                points = find_points(rays, hits.depth, pixels)
                patch = describe(points, _boxes(scene.solids, number))
                yield pixels, points, patch, solid_colour(scene, number, patch)


def _boxes(solids: Solids, number: NDArray[np.int32]) -> Box:
    # (K, 3) or (K, 2) of the solids -> (3, N) or (2, N) of the points.
    centre, half, turn = (column.astype(np.float32)[number].T for column in (solids.centre, solids.half, solids.turn))
    return centre, half, turn


def _backdrop_box(scene: Scene) -> Box:
    """Return the room, or a slab whose upper face is the ground."""
    # Columns of one entry broadcast over N points. Cosine 1, sine 0: not turned.
    turn = np.array([[1.0], [0.0]], np.float32)
    if scene.room:
        half = np.array(scene.room.half, np.float32)[:, None]
        return half * np.array([[0], [0], [1]], np.float32), half, turn
    slab = np.array([[_GROUND_HALF_M], [_GROUND_HALF_M], [1.0]], np.float32)
    return np.array([[0], [0], [-1]], np.float32), slab, turn


def _lamp(patch: Patch, points: Points) -> Reals:
    """Return float32 (N, 1): light of a room, bright near its middle, from above."""
    distance = np.sqrt((points.position[0] ** 2 + points.position[1] ** 2) / 9.0 + 1.0)
    # Walls that face different ways differ in brightness, so that corners are seen.
    upward = np.where(patch.facing == 2, np.float32(1.0), 0.75 + 0.1 * patch.normal[0])
    return np.asarray(((0.35 + 0.75 / distance) * upward)[:, None])


def _daylight(scene: Scene, rays: Rays, patch: Patch, points: Points) -> Reals:
    """Return float32 (N, 3): light of sky and sun that falls on the points."""
    light = scene.light
    # (N,): Lambert's cosine, and the share of the sky above the surface: 1 facing up, 0.5 facing down.
    slope = np.maximum(rgb(light.sun) @ patch.normal, 0.0)
    open_sky = 0.75 + 0.25 * patch.normal[2]
    if max(light.direct) > 0:
        near = np.flatnonzero((slope > 0) & (points.distance < 2 * PARAMS.shadow_reach_m))
        slope[near] *= ~_shadowed(scene, rays, points.position[:, near] + _LIFT_M * patch.normal[:, near])
    return np.asarray(open_sky[:, None] * rgb(light.ambient) + slope[:, None] * rgb(light.direct))


def _shadowed(scene: Scene, rays: Rays, point: Reals) -> NDArray[np.bool_]:
    """Return bool (N,): whether a solid is between the points (3, N) and the sun."""
    sun = np.array(scene.light.sun)
    lines, dark = make_lines(point, sun[:, None].astype(np.float32)), np.zeros(point.shape[1], np.bool_)
    for number in _casters(scene.solids, rays, sun):
        dark |= np.isfinite(enter_solid(scene.solids, number, lines))
    return dark


def _casters(solids: Solids, rays: Rays, sun: Floats) -> list[int]:
    """Return the solids near the camera whose shadow, a capsule from solid to ground, may be in view."""
    radius = np.sqrt((solids.half**2).sum(axis=1))
    # A solid's bounding ball casts the shadow; both ends of the capsule, relative to the camera, are (K, 3).
    high = solids.centre - rays.origin
    fall = (solids.centre[:, 2] / sun[2])[:, None] * sun
    ends = np.stack([high, high - fall])  # (2, K, 3)
    height, width = rays.direction.shape[1:]
    right, down, forward = rays.axes
    # Normals of the camera plane and the four sides of the view, inwards.
    sides = [forward]
    for axis, size in ((right, width), (down, height)):
        sides += [forward * (size / 2) + sign * axis * rays.focal_px for sign in (-1.0, 1.0)]
    # (2, K, 3) @ (3, 5): distance of both ends from the five planes, positive inside; the end farther inside counts.
    distance = (ends @ np.stack([side / np.linalg.norm(side) for side in sides]).T).max(axis=0)  # (K, planes)
    near = np.hypot(high[:, 0], high[:, 1]) < PARAMS.shadow_reach_m
    return np.flatnonzero(near & (distance > -radius[:, None]).all(axis=1)).tolist()


def _hazed(light: Light, colour: Reals, distance: Reals) -> Reals:
    """Blend colours with the horizon: the air keeps exp(-haze * distance) of them (Koschmieder)."""
    kept = np.exp(np.float32(-light.haze_per_m) * distance)[:, None]
    return np.asarray(rgb(light.horizon) + kept * (colour - rgb(light.horizon)))


def _sky(scene: Scene, direction: Reals) -> Reals:
    """Return float32 (N, 3): from horizon to zenith, clouds on a plane, a glow around the sun."""
    light = scene.light
    unit = direction / np.sqrt((direction * direction).sum(axis=0))
    rise = np.clip(unit[2], 0.0, 1.0)
    colour = rgb(light.horizon) + np.sqrt(rise)[:, None] * (rgb(light.zenith) - rgb(light.horizon))
    # Where the direction meets a plane at height 1; bounded, because that is infinitely far at the horizon.
    x, y = unit[:2] / np.maximum(unit[2], np.float32(0.05))
    noise = layered_noise(scene.noise, x, y, np.zeros_like(x), _CLOUDS)
    cover = np.clip(2.0 * (noise + np.float32(2.0 * light.clouds - 1.0)) + 0.5, 0.0, 1.0) * np.minimum(rise * 8.0, 1.0)
    colour = colour + (0.7 * cover)[:, None] * (np.float32(0.85) - colour)
    glow = np.maximum(rgb(light.sun) @ unit, 0.0) ** 60
    return np.asarray(colour + (0.4 * glow)[:, None] * rgb(light.direct))


def _grain(noise: Reals, origin: Floats, shape: tuple[int, ...]) -> Reals:
    """Return float32 (H, W, 3) in [-1, 1): sensor noise, laid elsewhere for every camera."""
    start = (np.abs(origin) * 1e4).astype(np.int64)
    row, column = np.arange(shape[0])[:, None, None] + start[0], np.arange(shape[1])[None, :, None] + start[1]
    # The lattice repeats every 128 pixels; each repeat is shifted against the one before, so that none is seen.
    wrap, channel = len(noise) - 1, np.arange(3) * 41 + start[2]
    return np.asarray(noise[(row + 5 * (column >> 7) + channel) & wrap, (column + 3 * (row >> 7) + channel) & wrap])
