"""The colour of surfaces before any light falls on them."""

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.params import PARAMS
from sharding.toyworld.patch import Patch
from sharding.toyworld.scene import Block, Colour, Pattern, Reals, Room, Scene, Shape
from sharding.toyworld.texture import cell_value, layered_noise, stripes

_GLASS, _MORTAR, _PAINT = (0.05, 0.07, 0.1), (0.55, 0.52, 0.48), (0.8, 0.8, 0.78)


def rgb(colour: Colour) -> NDArray[np.float32]:
    """Return a colour as float32 (3,)."""
    return np.array(colour, np.float32)


def ground_colour(scene: Scene, patch: Patch) -> Reals:
    """Return float32 (N, 3): asphalt with markings, paving stones and grass."""
    ground, x, y = scene.ground, patch.across, patch.upward
    wide = np.maximum(patch.across_px, patch.upward_px)
    middle = len(ground.blocks) // 2
    # int64 (N,): block of each point. The origin is a crossing; `blocks[middle, middle]` is north-east of it.
    i, j = (np.floor(part / ground.block_m).astype(np.int64) + middle for part in (x, y))
    inside = (i >= 0) & (j >= 0) & (i < len(ground.blocks)) & (j < len(ground.blocks))
    block = ground.blocks[np.clip(i, 0, len(ground.blocks) - 1), np.clip(j, 0, len(ground.blocks) - 1)]
    green = ~inside | (block == Block.PARK)
    colour = np.where(green[:, None], rgb(ground.grass), _paved(scene, patch)[:, None] * rgb(ground.paving))
    street_x, street_y = (_street(scene, at, px) for at, px in ((x, patch.across_px), (y, patch.upward_px)))
    # Share of a pixel covered by either street: the union, taken as independent.
    road = 1.0 - (1.0 - street_x) * (1.0 - street_y)
    colour = _mix(colour, ground.road, road)
    colour = _mix(colour, _PAINT, _dashes(scene, patch) * np.float32(0.8))
    noise = layered_noise(scene.noise, x, y, wide, PARAMS.ground_noise)
    rough = np.where(green, np.float32(1.2), np.float32(0.6))
    return np.asarray(colour * np.maximum(1.0 + noise * rough, 0.1)[:, None])


def _street(scene: Scene, at: Reals, px: Reals) -> Reals:
    ground = scene.ground
    # A stripe begins at 0, a street half its width before: it is centred on a multiple of `block_m`.
    return stripes(at + np.float32(ground.street_m / 2), ground.block_m, ground.street_m, px)


def _paved(scene: Scene, patch: Patch) -> Reals:
    """Return float32 (N,): 1 on stones, less in the joints between them, and a little stone by stone."""
    joints = [
        stripes(at, PARAMS.tile_m, 0.06, px)
        for at, px in ((patch.across, patch.across_px), (patch.upward, patch.upward_px))
    ]
    stone = cell_value(scene.noise, np.floor(patch.across / PARAMS.tile_m), np.floor(patch.upward / PARAMS.tile_m))
    near = np.clip(1.5 - np.maximum(patch.across_px, patch.upward_px) / PARAMS.tile_m, 0.0, 1.0)
    return (1.0 + 0.15 * stone * near) * (1.0 - 0.55 * np.maximum(*joints))


def _dashes(scene: Scene, patch: Patch) -> Reals:
    """Return float32 (N,): cover of the dashed lines in the middle of the streets, 3 m long every 9 m, 0.15 m wide."""
    x, y, block = patch.across, patch.upward, scene.ground.block_m
    along_y = stripes(x + np.float32(0.075), block, 0.15, patch.across_px) * stripes(y, 9.0, 3.0, patch.upward_px)
    along_x = stripes(y + np.float32(0.075), block, 0.15, patch.upward_px) * stripes(x, 9.0, 3.0, patch.across_px)
    return np.maximum(along_x, along_y)


def room_colour(scene: Scene, room: Room, patch: Patch) -> Reals:
    """Return float32 (N, 3): boards, papered walls and a plain ceiling."""
    # Normals point out of the box, and a room is seen from inside: that of its floor points down.
    floor, ceiling = (patch.facing == 2) & (patch.normal[2] < 0), (patch.facing == 2) & (patch.normal[2] > 0)
    colour = np.select([floor[:, None], ceiling[:, None]], [rgb(room.floor), rgb(room.ceiling)], rgb(room.wall))
    board = cell_value(scene.noise, np.floor(patch.across / PARAMS.plank_m), np.floor(patch.upward / 1.8))
    gaps = stripes(patch.across, PARAMS.plank_m, 0.012, patch.across_px)
    paper = stripes(patch.across, 0.5, 0.25, patch.across_px)
    shade = np.where(floor, (1.0 + 0.25 * board) * (1.0 - 0.7 * gaps), np.where(ceiling, 1.0, 1.0 - 0.12 * paper))
    wide = np.maximum(patch.across_px, patch.upward_px)
    noise = layered_noise(scene.noise, patch.across, patch.upward, wide, PARAMS.solid_noise)
    return colour * (shade.astype(np.float32) * (1.0 + 0.7 * noise))[:, None]


def solid_colour(scene: Scene, number: NDArray[np.int32], patch: Patch) -> Reals:
    """Return float32 (N, 3): colours of points on the solids int32 (N,) `number`."""
    colour, pattern = scene.solids.colour[number], scene.solids.pattern[number]
    wall = (patch.facing < 2) & (scene.solids.shape[number] == Shape.BOX)
    for kind, paint in ((Pattern.WINDOWS, _windows), (Pattern.BRICKS, _bricks)):
        chosen = np.flatnonzero(wall & (pattern == kind))
        colour[chosen] = paint(scene, colour[chosen], _pick(patch, chosen))
    wide = np.maximum(patch.across_px, patch.upward_px)
    # Metres, another for each solid: equal walls would have equal noise.
    shift = (number * 17 % 101).astype(np.float32)
    noise = layered_noise(scene.noise, patch.across + shift, patch.upward, wide, PARAMS.solid_noise)
    leaves = np.flatnonzero(pattern == Pattern.FOLIAGE)
    noise[leaves] = layered_noise(
        scene.noise, patch.across[leaves] + shift[leaves], patch.upward[leaves], wide[leaves], PARAMS.foliage_noise
    )
    return np.asarray(colour * np.maximum(1.0 + noise, 0.15)[:, None])


def _windows(scene: Scene, colour: Reals, patch: Patch) -> Reals:
    """Paint windows 1.3 m wide and 1.6 m high on every floor, each pane in its own shade, under a cornice."""
    column, floor = np.floor(patch.across / PARAMS.window_m), np.floor(patch.upward / PARAMS.storey_m)
    pane = stripes(patch.across - 0.5, PARAMS.window_m, 1.3, patch.across_px)
    pane = pane * stripes(patch.upward - 0.8, PARAMS.storey_m, 1.6, patch.upward_px)
    ledge = stripes(patch.upward - 2.8, PARAMS.storey_m, 0.2, patch.upward_px)
    shade = 1.0 + 0.8 * cell_value(scene.noise, column, floor)
    glass = shade[:, None] * rgb(_GLASS)
    return np.asarray(colour * (1.0 + 0.25 * ledge)[:, None] * (1.0 - pane)[:, None] + glass * pane[:, None])


def _bricks(scene: Scene, colour: Reals, patch: Patch) -> Reals:
    """Paint courses of blocks, 0.6 m by 0.3 m, every other one shifted."""
    course = np.floor(patch.upward / 0.3)
    across = patch.across + 0.3 * (course % 2)
    mortar = np.maximum(stripes(patch.upward, 0.3, 0.03, patch.upward_px), stripes(across, 0.6, 0.03, patch.across_px))
    stone = 1.0 + 0.3 * cell_value(scene.noise, np.floor(across / 0.6), course) * (patch.upward_px < 0.2)
    return _mix(colour * stone[:, None], _MORTAR, mortar)


def _mix(colour: Reals, other: Colour, share: Reals) -> Reals:
    """Blend (N, 3) colours with another by (N,) shares."""
    return colour + share[:, None] * (rgb(other) - colour)


def _pick(patch: Patch, chosen: NDArray[np.int64]) -> Patch:
    return Patch(
        normal=patch.normal[:, chosen],
        across=patch.across[chosen],
        upward=patch.upward[chosen],
        across_px=patch.across_px[chosen],
        upward_px=patch.upward_px[chosen],
        facing=patch.facing[chosen],
    )
