"""The numbers of the toy world, frozen: later measurements are only comparable while they stay.

Camera height, pitch, roll, position, haze, sun and surface colours vary, so neither the image row nor colour gives
depth away. The focal length does not: metric depth from a single image is defined only for a known focal length (twice
the focal length and twice the distance make the same picture), so all cameras share one, that of DIODE's intrinsics.
"""

from dataclasses import dataclass

Interval = tuple[float, float]
"""Lowest and highest value."""

Octave = tuple[float, float]
"""Wavelength in metres and amplitude of a layer of noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """Every number that shapes the pictures; the bars that later work is measured against rely on them.

    A change here changes every generated view: the golden tests fail, and all numbers measured on the toy world before
    are void. Lengths are metres, angles degrees, colours linear RGB in [0, 1].

    Attributes:
        focal: Focal length in units of the longer image side (60 degrees wide; DIODE: 886.81 px for 1024 px).
        max_range_m: Planar depth beyond which the sensor has no return.
        camera_height_m: Outdoors: shares of the cameras that stand below these heights, log-linear between them.
        pitch_deg: Tilt, up is positive: puts the horizon at 25 to 65 % of the height of a 2:3 or 3:4 view.
        roll_deg: Turn about the optical axis.
        clearance_m: No solid is nearer to an outdoor camera than this, seen from above.
        room_clearance_m: The same indoors.
        ahead_m: How far an outdoor camera sees ahead, level, 20 degrees to either side, if there is such a heading.
        roam_m: Outdoor cameras stand within this distance of the centre, along x and along y.
        room_camera_m: Height of the camera indoors.
        blocks: Blocks of a town along x and along y.
        block_m: Side of a block from street centre to street centre.
        street_m: Width of a street.
        open_share: Share of a town's blocks without buildings.
        storeys: Floors of a building; `storey_m` each.
        storey_m: Height of a floor: windows repeat with it.
        window_m: Distance from window to window along a wall.
        tile_m: Side of a paving stone.
        plank_m: Width of a floor board.
        furnished_m: Cars, lamps, trees and people stand within this distance of the centre.
        haze_per_m: Extinction of hazy air; the nearest surfaces fade least.
        clear_share: Share of scenes without any haze.
        overcast_share: Share of scenes without direct sun.
        sun_elevation_deg: Height of the sun over the horizon.
        ground_noise: Layers of texture on the ground; the same everywhere, so that texture scale tells distance.
        solid_noise: Layers of texture on solids.
        foliage_noise: Layers of texture on trees.
        shadow_reach_m: Solids farther away than this cast no shadow.
    """

    focal: float = 0.8660254037844386
    max_range_m: float = 300.0
    camera_height_m: tuple[Interval, ...] = ((0.0, 1.0), (0.1, 1.3), (0.7, 1.9), (0.88, 4.0), (1.0, 20.0))
    pitch_deg: Interval = (-11.0, 7.0)
    roll_deg: Interval = (-10.0, 10.0)
    clearance_m: float = 2.5
    room_clearance_m: float = 0.5
    ahead_m: float = 15.0
    roam_m: float = 60.0
    room_camera_m: Interval = (1.1, 1.7)
    blocks: int = 9
    block_m: Interval = (30.0, 52.0)
    street_m: Interval = (8.0, 16.0)
    open_share: Interval = (0.25, 0.85)
    storeys: Interval = (1.0, 7.0)
    storey_m: float = 3.0
    window_m: float = 2.4
    tile_m: float = 1.0
    plank_m: float = 0.2
    furnished_m: float = 85.0
    haze_per_m: Interval = (0.002, 0.02)
    clear_share: float = 0.35
    overcast_share: float = 0.25
    sun_elevation_deg: Interval = (18.0, 65.0)
    ground_noise: tuple[Octave, ...] = ((0.12, 0.25), (0.4, 0.2), (1.5, 0.15), (6.0, 0.12), (25.0, 0.12))
    solid_noise: tuple[Octave, ...] = ((0.15, 0.1), (0.8, 0.08), (4.0, 0.1))
    foliage_noise: tuple[Octave, ...] = ((0.2, 0.55), (0.7, 0.4))
    shadow_reach_m: float = 70.0


PARAMS = Params()
"""The toy world."""
