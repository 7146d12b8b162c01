"""Indoor scenes: a furnished room."""

from collections.abc import Iterator

from sharding.toyworld.dice import Dice
from sharding.toyworld.scene import Colour, Pattern, Room, Scene, Solid, stack_solids
from sharding.toyworld.town import draw_light, lattice, open_ground, tint

_PURPOSE = 2
_FLOORS: tuple[Colour, ...] = ((0.4, 0.26, 0.14), (0.28, 0.17, 0.1), (0.5, 0.42, 0.32))
_WALLS: tuple[Colour, ...] = ((0.7, 0.68, 0.6), (0.5, 0.6, 0.55), (0.65, 0.5, 0.42), (0.45, 0.52, 0.65))
_WOODS: tuple[Colour, ...] = ((0.35, 0.22, 0.12), (0.6, 0.58, 0.55), (0.12, 0.1, 0.09), (0.3, 0.12, 0.1))


def make_room(seed: int, group: int, number: int) -> Scene:
    """Generate room `number` of `group`: a pure function of its arguments."""
    dice = Dice(seed, _PURPOSE, group, number)
    room = Room(
        half=(dice.between(2.4, 5.0), dice.between(2.4, 5.0), dice.between(1.25, 1.6)),
        floor=tint(dice, dice.pick(_FLOORS), 0.2),
        wall=tint(dice, dice.pick(_WALLS), 0.2),
        ceiling=(0.75, 0.75, 0.73),
    )
    solids = [*_cabinets(dice, room), *_table(dice), *_door_and_pictures(dice, room)]
    return Scene(
        solids=stack_solids(solids), ground=open_ground().ground, room=room, light=draw_light(dice), noise=lattice(dice)
    )


def _cabinets(dice: Dice, room: Room) -> Iterator[Solid]:
    """Yield cupboards along the walls."""
    for side in (-1.0, 1.0):
        deep, tall, wide = dice.between(0.2, 0.3), dice.between(0.4, 1.0), dice.between(0.4, 1.2)
        x, y, _ = room.half
        along = dice.between(-0.5, 0.5)
        colour = tint(dice, dice.pick(_WOODS), 0.2)
        yield Solid(centre=(side * (x - deep), along * y, tall), half=(deep, wide, tall), colour=colour)
        yield Solid(
            centre=(along * x, side * (y - deep), tall * 0.6),
            half=(wide, deep, tall * 0.6),
            colour=colour,
            pattern=dice.pick((Pattern.PLAIN, Pattern.BRICKS)),
        )


def _table(dice: Dice) -> Iterator[Solid]:
    """Yield a table top, 0.75 m high, on four legs."""
    x, y = dice.between(-0.8, 0.8), dice.between(-0.8, 0.8)
    wide, deep = dice.between(0.5, 0.9), dice.between(0.4, 0.6)
    colour = tint(dice, dice.pick(_WOODS), 0.2)
    yield Solid(centre=(x, y, 0.73), half=(wide, deep, 0.02), colour=colour)
    for i in (-1, 1):
        for j in (-1, 1):
            yield Solid(
                centre=(x + i * (wide - 0.05), y + j * (deep - 0.05), 0.355), half=(0.03, 0.03, 0.355), colour=colour
            )


def _door_and_pictures(dice: Dice, room: Room) -> Iterator[Solid]:
    """Yield a door, 2 m by 0.9 m, and pictures on the walls."""
    x, y, _ = room.half
    yield Solid(
        centre=(dice.between(-0.5, 0.5) * x, y - 0.02, 1.0),
        half=(0.45, 0.03, 1.0),
        colour=tint(dice, (0.55, 0.5, 0.42), 0.3),
    )
    for side in (-1.0, 1.0):
        colour = dice.between(0.05, 0.7), dice.between(0.05, 0.7), dice.between(0.05, 0.7)
        yield Solid(
            centre=(side * (x - 0.01), dice.between(-0.5, 0.5) * y, 1.6),
            half=(0.02, dice.between(0.2, 0.6), 0.3),
            colour=colour,
        )
