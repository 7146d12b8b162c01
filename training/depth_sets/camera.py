"""The camera of the training images, which the checkpoint keeps: depth in metres holds for its focal length alone."""

from typing import Any

from sharding.progress import say
from sharding.reading.shard_set import ShardSet

DIODE_SIZE_PX = (768, 1024)
DIODE_FOCAL_PX = 1323.0
"""Of DIODE's images, (height, width): 42.3 by 32.4 degrees, at which right angles are right in its point clouds.

Both angles give this focal length within 0.2 %. The 60 by 45 degrees of DIODE's own intrinsics.txt give 887 px across
and 927 px down, which square pixels cannot have (diode-devkit, issue 20).
"""


def training_camera(samples: ShardSet, focal_px: float | None) -> dict[str, Any]:
    """Find the camera of a training set, as the hyper-parameters have it; say where a focal length comes from.

    Args:
        samples: The training set. Crops and zooms of its images do not matter: a crop keeps the focal length, and the
            depth of a zoomed view is divided by the zoom (of the tutorial's views it is not, as in the tutorial).
        focal_px: Focal length in pixels of its images, as the user gives it; None: that of DIODE, if the images are
            of its size, else unknown.
    """
    sizes = samples.rows[["height", "width"]].drop_duplicates()
    height, width = (int(side) for side in sizes.iloc[0]) if len(sizes) == 1 else (0, 0)
    if focal_px is None and samples.manifest.dataset == "diode" and (height, width) == DIODE_SIZE_PX:
        focal_px = DIODE_FOCAL_PX
        say(f"training camera: DIODE's, focal length {focal_px:g} px; give --camera-focal-px if it is another one")
    return {"camera_focal_px": focal_px or 0.0, "camera_height": height, "camera_width": width}
