"""Outdoor scenes: a town of square blocks with buildings, parks and squares, its streets furnished."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from sharding.toyworld.dice import Dice
from sharding.toyworld.params import PARAMS
from sharding.toyworld.scene import Block, Colour, Ground, Light, Pattern, Scene, Shape, Solid, stack_solids

_PURPOSE = 1
_LATTICE = 128  # a side, in cells; a power of two, because textures wrap with a bit mask
_FACADES: tuple[Colour, ...] = (
    (0.62, 0.55, 0.42),
    (0.55, 0.28, 0.2),
    (0.7, 0.68, 0.62),
    (0.35, 0.36, 0.38),
    (0.6, 0.42, 0.25),
    (0.45, 0.5, 0.52),
    (0.75, 0.6, 0.35),
)
_ROADS: tuple[Colour, ...] = ((0.1, 0.1, 0.11), (0.19, 0.18, 0.17), (0.28, 0.25, 0.22))
_PAVINGS: tuple[Colour, ...] = ((0.38, 0.37, 0.35), (0.45, 0.36, 0.27), (0.3, 0.31, 0.33), (0.52, 0.48, 0.4))
_CARS: tuple[Colour, ...] = (
    (0.5, 0.03, 0.03),
    (0.05, 0.1, 0.35),
    (0.6, 0.6, 0.6),
    (0.04, 0.04, 0.05),
    (0.7, 0.68, 0.6),
    (0.05, 0.2, 0.12),
)
_GRASSES: tuple[Colour, ...] = ((0.1, 0.18, 0.05), (0.2, 0.22, 0.08), (0.3, 0.27, 0.14), (0.14, 0.2, 0.12))


@lru_cache(maxsize=16)
def make_town(seed: int, group: int, number: int) -> Scene:
    """Generate town `number` of `group`: a pure function of its arguments."""
    # One stream for the whole town: a draw more or less changes everything drawn after it.
    dice = Dice(seed, _PURPOSE, group, number)
    ground = _ground(dice)
    solids = [solid for i, j, kind in _blocks(ground) for solid in _block(dice, ground, kind, (i, j))]
    solids += _street_furniture(dice, ground)
    return Scene(solids=stack_solids(solids), ground=ground, room=None, light=draw_light(dice), noise=lattice(dice))


def open_ground(seed: int = 0) -> Scene:
    """Return a scene without solids: streets and grass to the horizon, under clear air."""
    dice = Dice(seed, _PURPOSE)
    light = Light(
        sun=(0.0, -0.6, 0.8),
        direct=(0.8, 0.8, 0.8),
        ambient=(0.3, 0.3, 0.3),
        zenith=(0.1, 0.25, 0.6),
        horizon=(0.6, 0.7, 0.8),
        clouds=0.2,
        haze_per_m=0.0,
    )
    return Scene(solids=stack_solids([]), ground=_ground(dice), room=None, light=light, noise=lattice(dice))


def lattice(dice: Dice) -> np.typing.NDArray[np.float32]:
    """Draw the lattice that textures are made of."""
    return 2.0 * dice.field(_LATTICE, _LATTICE) - 1.0


def tint(dice: Dice, colour: Colour, amount: float) -> Colour:
    """Return `colour` brighter or darker, and a little off in hue, by up to `amount`."""
    bright = dice.between(1.0 - amount, 1.0 + amount)
    red, green, blue = (min(part * bright * dice.between(1.0 - amount / 3, 1.0 + amount / 3), 0.9) for part in colour)
    return red, green, blue


def draw_light(dice: Dice) -> Light:
    """Draw sun, sky and air: clear or hazy, bright or overcast."""
    azimuth, rise = math.radians(dice.between(0, 360)), math.radians(dice.between(*PARAMS.sun_elevation_deg))
    overcast, clear = dice.chance(PARAMS.overcast_share), dice.chance(PARAMS.clear_share)
    haze, bright = dice.log_between(*PARAMS.haze_per_m), dice.between(0.75, 1.15)
    warm = 1.0 - math.sin(rise)  # 1 at sunset, 0 at the zenith: low sun is redder
    blue = dice.between(0.0, 1.0)
    direct = (1.25 * bright, (1.2 - 0.25 * warm) * bright, (1.15 - 0.5 * warm) * bright)
    grey = 0.75 * bright
    return Light(
        sun=(math.cos(rise) * math.sin(azimuth), math.cos(rise) * math.cos(azimuth), math.sin(rise)),
        direct=(0.0, 0.0, 0.0) if overcast else direct,
        ambient=(grey * 1.2, grey * 1.22, grey * 1.25) if overcast else (0.38 * bright, 0.42 * bright, 0.5 * bright),
        zenith=(0.5, 0.53, 0.58) if overcast else (0.08 + 0.1 * blue, 0.2 + 0.12 * blue, 0.55),
        horizon=(0.62, 0.64, 0.66) if overcast else (0.62 + 0.1 * warm, 0.66, 0.74 - 0.1 * warm),
        clouds=dice.between(0.6, 0.9) if overcast else dice.between(0.0, 0.6),
        haze_per_m=0.0 if clear else haze,
    )


def _ground(dice: Dice) -> Ground:
    open_share = dice.between(*PARAMS.open_share)
    kinds = [
        dice.pick((Block.PARK, Block.PARK, Block.SQUARE)) if dice.chance(open_share) else Block.BUILT
        for _ in range(PARAMS.blocks**2)
    ]
    return Ground(
        block_m=dice.between(*PARAMS.block_m),
        street_m=dice.between(*PARAMS.street_m),
        blocks=np.array(kinds, np.int8).reshape(PARAMS.blocks, PARAMS.blocks),
        road=tint(dice, dice.pick(_ROADS), 0.2),
        paving=tint(dice, dice.pick(_PAVINGS), 0.25),
        grass=tint(dice, dice.pick(_GRASSES), 0.3),
    )


def _blocks(ground: Ground) -> Iterator[tuple[float, float, Block]]:
    """Yield centre x, y in metres and the use of each block."""
    middle = len(ground.blocks) // 2
    for (i, j), kind in np.ndenumerate(ground.blocks):
        # Streets run along multiples of `block_m`, so blocks are centred half a block off.
        yield (i - middle + 0.5) * ground.block_m, (j - middle + 0.5) * ground.block_m, Block(int(kind))


def _block(dice: Dice, ground: Ground, kind: Block, centre: tuple[float, float]) -> Iterator[Solid]:
    """Yield the solids on a block; only those near the centre are furnished."""
    # What is left between the streets, less 2 m of pavement on either side.
    side = ground.block_m - ground.street_m - 4.0
    near = max(abs(centre[0]), abs(centre[1])) < PARAMS.furnished_m
    if kind == Block.BUILT:
        yield from _buildings(dice, centre, side)
    elif kind == Block.PARK:
        for _ in range(2 + dice.whole(4) if near else 2):
            yield from _tree(dice, _spot(dice, centre, side - 4.0))
        if near and dice.chance(0.6):
            yield _wall(dice, _spot(dice, centre, side * 0.6), side)
    elif near:
        for _ in range(1 + dice.whole(3)):
            yield from _person(dice, _spot(dice, centre, side))
        yield _kiosk(dice, _spot(dice, centre, side * 0.6))


def _buildings(dice: Dice, centre: tuple[float, float], side: float) -> Iterator[Solid]:
    """Yield one building, two halves or four quarters of a block."""
    columns, rows = dice.pick(((1, 1), (2, 1), (1, 2), (2, 2), (2, 2)))
    for i in range(columns):
        for j in range(rows):
            if columns * rows == 4 and dice.chance(0.2):
                continue
            half_x = side / columns / 2 * dice.between(0.7, 0.98)
            half_y = side / rows / 2 * dice.between(0.7, 0.98)
            x = centre[0] + side * ((i + 0.5) / columns - 0.5)
            y = centre[1] + side * ((j + 0.5) / rows - 0.5)
            storeys = int(dice.log_between(PARAMS.storeys[0], PARAMS.storeys[1] + 1))
            yield from _building(dice, (x, y), (half_x, half_y), storeys * PARAMS.storey_m + 0.6)


def _building(dice: Dice, centre: tuple[float, float], half: tuple[float, float], tall: float) -> Iterator[Solid]:
    """Yield a house with windows, and a hut on some roofs."""
    # Turned by 25 degrees a square is 1.33 times as wide; 0.75 of its size, it stays on its plot.
    turn = dice.between(-25, 25) if dice.chance(0.15) else 0.0
    shrink = 0.75 if turn else 1.0
    colour = tint(dice, dice.pick(_FACADES), 0.25)
    yield Solid(
        centre=(*centre, tall / 2),
        half=(half[0] * shrink, half[1] * shrink, tall / 2),
        yaw_deg=turn,
        pattern=Pattern.WINDOWS,
        colour=colour,
    )
    if dice.chance(0.4):
        size = 0.3 * shrink * min(half)
        yield Solid(
            centre=(*centre, tall + 1.1),
            half=(size, size, 1.1),
            yaw_deg=turn,
            colour=tint(dice, (0.4, 0.38, 0.36), 0.3),
        )


def _tree(dice: Dice, spot: tuple[float, float]) -> Iterator[Solid]:
    trunk, wide, tall = dice.between(1.6, 2.8), dice.between(1.3, 2.8), dice.between(1.6, 3.4)
    yield Solid(
        centre=(*spot, trunk / 2 + 0.3),  # its top is 0.6 m inside the crown
        half=(0.16, 0.16, trunk / 2 + 0.3),
        yaw_deg=dice.between(0, 90),
        colour=(0.13, 0.09, 0.06),
    )
    yield Solid(
        centre=(*spot, trunk + tall),
        half=(wide, wide, tall),
        shape=Shape.BALL,
        pattern=Pattern.FOLIAGE,
        colour=tint(dice, dice.pick(((0.08, 0.15, 0.04), (0.13, 0.17, 0.05), (0.2, 0.13, 0.05))), 0.3),
    )


def _wall(dice: Dice, spot: tuple[float, float], side: float) -> Solid:
    tall = dice.between(0.8, 2.4)
    return Solid(
        centre=(*spot, tall / 2),
        half=(dice.between(3.0, side / 3), 0.2, tall / 2),
        yaw_deg=dice.between(0, 180),
        pattern=Pattern.BRICKS,
        colour=tint(dice, dice.pick(_FACADES), 0.2),
    )


def _kiosk(dice: Dice, spot: tuple[float, float]) -> Solid:
    return Solid(
        centre=(*spot, 1.3),
        half=(dice.between(1.0, 2.5), dice.between(1.0, 1.8), 1.3),
        yaw_deg=dice.between(0, 90),
        pattern=dice.pick((Pattern.PLAIN, Pattern.BRICKS)),
        colour=tint(dice, dice.pick(_FACADES), 0.3),
    )


def _person(dice: Dice, spot: tuple[float, float]) -> Iterator[Solid]:
    """Yield a body 1.75 m tall."""
    yaw = dice.between(0, 180)
    colour = dice.between(0.03, 0.6), dice.between(0.03, 0.5), dice.between(0.03, 0.5)
    yield Solid(centre=(*spot, 0.75), half=(0.24, 0.14, 0.75), yaw_deg=yaw, colour=colour)
    yield Solid(centre=(*spot, 1.62), half=(0.11, 0.11, 0.14), shape=Shape.BALL, colour=(0.5, 0.33, 0.25))


def _street_furniture(dice: Dice, ground: Ground) -> Iterator[Solid]:
    """Yield parked cars and lamps along the streets near the centre, both ways."""
    reach = int(PARAMS.furnished_m / ground.block_m)
    for street in range(-reach, reach + 1):
        for step in range(-reach, reach):
            for flip in (False, True):
                side = dice.pick((-1.0, 1.0))
                # Across the street, from its centre line: a car 1.2 m inside one kerb, a lamp 0.5 m beyond the other.
                off = street * ground.block_m + side * (ground.street_m / 2 - 1.2)
                along = (step + dice.between(0.25, 0.75)) * ground.block_m
                kerb = street * ground.block_m - side * (ground.street_m / 2 + 0.5)
                lamp = (step + dice.between(0.3, 0.7)) * ground.block_m
                yield from _car(dice, (along, off) if flip else (off, along), flip)
                yield from _lamp_post((lamp, kerb) if flip else (kerb, lamp))


def _car(dice: Dice, spot: tuple[float, float], along_x: bool) -> Iterator[Solid]:
    """Yield body and cabin of a car, 4.3 m long and 1.45 m high."""
    colour = tint(dice, dice.pick(_CARS), 0.2)
    for length, wide, (low, high), paint in (
        (2.15, 0.88, (0.22, 0.88), colour),
        (1.15, 0.78, (0.87, 1.45), (0.06, 0.07, 0.09)),
    ):
        half = (length, wide) if along_x else (wide, length)
        yield Solid(centre=(*spot, (low + high) / 2), half=(*half, (high - low) / 2), colour=paint)


def _lamp_post(spot: tuple[float, float]) -> Iterator[Solid]:
    yield Solid(centre=(*spot, 2.75), half=(0.08, 0.08, 2.75), colour=(0.15, 0.16, 0.16))
    yield Solid(centre=(*spot, 5.6), half=(0.3, 0.3, 0.15), colour=(0.7, 0.7, 0.65))


def _spot(dice: Dice, centre: tuple[float, float], side: float) -> tuple[float, float]:
    """Draw a place within a square of `side` metres."""
    half = max(side, 1.0) / 2
    return centre[0] + dice.between(-half, half), centre[1] + dice.between(-half, half)
