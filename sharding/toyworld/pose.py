"""Where cameras stand and where they look: spread evenly over the ranges, so that small sets cover them too.

Cameras behave as people do: mostly at eye level, mostly level, and not facing a wall.
"""

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.dice import Dice, spread
from sharding.toyworld.params import PARAMS, Interval
from sharding.toyworld.raycast import cut_box, make_lines, to_local
from sharding.toyworld.scene import Scene

_PURPOSE = 3
_TRIES = 1000
_HEADINGS = 36  # 10 degrees apart
_LOOK = (-2, -1, 0, 1, 2)  # headings of 10 degrees that must be free: 20 degrees to either side

Spot = tuple[float, float, float]
"""x, y and height in metres."""


def draw_height(seed: int, group: int, number: int) -> float:
    """Return the height of outdoor camera `number` in metres."""
    # Inverse of the cumulative distribution: a uniform share -> the logarithm of the height.
    share = spread(number, 0, Dice(seed, _PURPOSE, group).between(0, 1))
    shares, heights = zip(*PARAMS.camera_height_m, strict=True)
    return float(np.exp(np.interp(share, shares, np.log(heights))))


def draw_tilt(seed: int, group: int, number: int) -> tuple[float, float]:
    """Return pitch and roll of view `number` in degrees."""
    dice = Dice(seed, _PURPOSE, group, 1)
    pitch, roll = (spread(number, axis, dice.between(0, 1)) for axis in (1, 2))
    return _towards_middle(pitch, PARAMS.pitch_deg), _towards_middle(roll, PARAMS.roll_deg)


def stand(scene: Scene, height: float, dice: Dice) -> Spot:
    """Draw a place that is free of solids, in a street, a square, a park or a room.

    Raises:
        RuntimeError: The scene has no free place.
    """
    room = scene.room
    reach = (room.half[0] - 0.4, room.half[1] - 0.4) if room else (PARAMS.roam_m, PARAMS.roam_m)
    for _ in range(_TRIES):
        spot = dice.between(-reach[0], reach[0]), dice.between(-reach[1], reach[1]), height
        if clearance(scene, spot) >= (PARAMS.room_clearance_m if room else PARAMS.clearance_m):
            return spot
    raise RuntimeError(f"no free place for a camera in {_TRIES} draws")


def draw_headings(scene: Scene, spot: Spot, dice: Dice) -> list[int]:
    """Return azimuths in degrees, all different: free views first; in a room, those within 60 degrees of its middle."""
    if scene.room:
        # Azimuth of the origin, clockwise from north: arctan2(east, north).
        middle = round(float(np.degrees(np.arctan2(-spot[0], -spot[1]))) / 10) * 10
        return [(middle + offset) % 360 for offset in dice.shuffled(range(-60, 70, 10))]
    free = free_ahead(scene, spot)
    headings = dice.shuffled(range(_HEADINGS))
    open_ones = {h for h in headings if min(free[(h + step) % _HEADINGS] for step in _LOOK) >= PARAMS.ahead_m}
    # A stable sort: free headings come first, each kind in the order drawn.
    return [360 // _HEADINGS * h for h in sorted(headings, key=lambda h: h not in open_ones)]


def clearance(scene: Scene, spot: Spot) -> float:
    """Return the distance in metres, seen from above, to the nearest solid that a camera could touch; < 0 inside."""
    solids = scene.solids
    # (2, K), x and y only; `to_local` wants a third row, and any will do.
    away = np.array(spot[:2])[:, None] - solids.centre[:, :2].T
    out = np.abs(to_local(np.stack([*away, away[0]]), solids.turn.T)[:2]) - solids.half[:, :2].T
    # Signed distance to a rectangle: to its corner or side outside, minus that to the nearest side inside.
    distance = np.hypot(*np.maximum(out, 0.0)) + np.minimum(out.max(axis=0), 0.0)
    # Solids whose top is well below the camera do not count.
    high = solids.centre[:, 2] + solids.half[:, 2]
    return float(np.where(high + PARAMS.clearance_m > spot[2], distance, np.inf).min(initial=np.inf))


def free_ahead(scene: Scene, spot: Spot) -> NDArray[np.float64]:
    """Return float64 (36,): how far one sees from a place, level, at azimuths 0, 10, ..; metres, at most 1000."""
    solids = scene.solids
    azimuth = np.deg2rad(np.arange(_HEADINGS) * 360 / _HEADINGS)
    way = np.broadcast_to(
        np.stack([np.sin(azimuth), np.cos(azimuth), np.zeros(_HEADINGS)])[:, None], (3, len(solids), _HEADINGS)
    )
    # (3, K, 36) lines in the axes of each solid: K boxes against 36 directions.
    turn = solids.turn.T[:, :, None]
    start = to_local((np.array(spot) - solids.centre).T[:, :, None], turn)
    enter, leave = cut_box(make_lines(start, to_local(way, turn)), solids.half.T[:, :, None])
    met = np.where((enter < leave) & (enter > 0), enter, 1000.0)
    return np.asarray(met.min(axis=0, initial=1000.0))


def _towards_middle(share: float, limits: Interval) -> float:
    """Map a uniform share to a range of which the middle is the more common."""
    low, high = limits
    # -1..1; its signed square is flat, so values are dense, in the middle.
    side = 2.0 * share - 1.0
    return (low + high + (high - low) * side * abs(side)) / 2.0
