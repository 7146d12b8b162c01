"""What a scene and a camera are: plain values, nothing is drawn or cast here.

World axes: x right (east), y ahead (north), z up, in metres; the ground is z = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
"""Linear RGB in [0, 1]."""


Reals = NDArray[np.floating[Any]]
"""float64 for geometry, float32 for pictures."""


class Shape(IntEnum):
    """Form of a solid within its half sizes."""

    BOX = 0
    BALL = 1
    """The ellipsoid that fills the box."""


class Pattern(IntEnum):
    """What is painted on a solid."""

    PLAIN = 0
    WINDOWS = 1
    BRICKS = 2
    FOLIAGE = 3


class Block(IntEnum):
    """Use of a block of the town; it decides the ground."""

    BUILT = 0
    PARK = 1
    SQUARE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pinhole camera; its focal length is that of `Params`, its principal point the image centre.

    Attributes:
        x_m: Position, east.
        y_m: Position, north.
        height_m: Position over the ground.
        yaw_deg: Heading, clockwise from north.
        pitch_deg: Tilt, up is positive.
        roll_deg: Turn about the optical axis, clockwise is positive (the horizon then sinks to the left).
    """

    x_m: float = 0.0
    y_m: float = 0.0
    height_m: float
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Solid:
    """A box, turned about the vertical, or the ellipsoid within it.

    Attributes:
        centre: x, y, z in metres.
        half: Half sizes along its own x, y, z, in metres.
        yaw_deg: Turn of its axes, counter-clockwise seen from above.
        shape: Form.
        pattern: What is painted on it.
        colour: Of its plain parts.
    """

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw_deg: float = 0.0
    shape: Shape = Shape.BOX
    pattern: Pattern = Pattern.PLAIN
    colour: Colour = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Solids:
    """All solids of a scene, as columns.

    Attributes:
        centre: float64 (K, 3), metres.
        half: float64 (K, 3), metres.
        turn: float64 (K, 2), cosine and sine of the yaw.
        shape: int8 (K,), a `Shape`.
        pattern: int8 (K,), a `Pattern`.
        colour: float32 (K, 3).
    """

    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    turn: NDArray[np.float64]
    shape: NDArray[np.int8]
    pattern: NDArray[np.int8]
    colour: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.shape)


def stack_solids(solids: Sequence[Solid]) -> Solids:
    """Turn a list of solids into columns."""
    # `reshape` gives (0, 3), not (0,), if there are no solids.
    yaw = np.deg2rad([solid.yaw_deg for solid in solids])
    return Solids(
        centre=np.array([solid.centre for solid in solids], np.float64).reshape(-1, 3),
        half=np.array([solid.half for solid in solids], np.float64).reshape(-1, 3),
        turn=np.stack([np.cos(yaw), np.sin(yaw)], axis=-1),
        shape=np.array([solid.shape for solid in solids], np.int8),
        pattern=np.array([solid.pattern for solid in solids], np.int8),
        colour=np.array([solid.colour for solid in solids], np.float32).reshape(-1, 3),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ground:
    """The plane z = 0: streets in a square grid, and the blocks between them.

    Attributes:
        block_m: From street centre to street centre.
        street_m: Width of a street.
        blocks: int8 (n, n), a `Block`; the middle one is centred half a block north-east of the origin.
        road: Colour of the asphalt.
        paving: Colour of squares and pavements.
        grass: Colour of parks and of the land around the town.
    """

    block_m: float
    street_m: float
    blocks: NDArray[np.int8]
    road: Colour
    paving: Colour
    grass: Colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """The inside of a box that stands on z = 0, centred on the origin.

    Attributes:
        half: Half sizes along x, y, z, in metres.
        floor: Colour.
        wall: Colour.
        ceiling: Colour.
    """

    half: tuple[float, float, float]
    floor: Colour
    wall: Colour
    ceiling: Colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """Sun, sky and air.

    Attributes:
        sun: Unit vector towards the sun.
        direct: Light of the sun; 0 when overcast.
        ambient: Light from everywhere.
        zenith: Colour of the sky overhead.
        horizon: Colour of the sky at the horizon, and of haze.
        clouds: 0 none .. 1 closed.
        haze_per_m: Extinction of the air.
    """

    sun: tuple[float, float, float]
    direct: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    clouds: float
    haze_per_m: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """Everything that can be seen: solids on a ground under a sky, or in a room.

    Attributes:
        solids: Objects that rays can hit.
        ground: The land outdoors.
        room: The room indoors; ground, sky and haze are then not seen.
        light: Sun, sky and air.
        noise: float32 (128, 128) in [-1, 1): the lattice that textures are made of.
    """

    solids: Solids
    ground: Ground
    room: Room | None
    light: Light
    noise: NDArray[np.float32]
