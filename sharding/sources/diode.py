"""DIODE: which files of its tree make a sample.

Layout: `SPLIT/{indoors,outdoor}/scene_NNNNN/scan_NNNNN/STEM{.png,_depth.npy,_depth_mask.npy}` with
`STEM = SCENE_SCAN_TYPE_AZIMUTH_ELEVATION` (DIODE devkit README). The tree is walked: the devkit's own meta file
lists 612 validation views where the archive has 771.
"""

import re
from functools import partial

from sharding.format.names import make_key
from sharding.format.origin import Origin
from sharding.sources.layout import Layout
from sharding.sources.pairing import SkippedFile, SourcePart

_PATH = re.compile(
    r"(?:^|/)(?P<split>train|val)/(?P<type>indoors|outdoor)/scene_(?P<scene>\d{5})/scan_(?P<scan>\d{5})/(?P<name>[^/]+)$"
)
# The first suffix that matches counts.
_ROLES = (("_depth_mask.npy", "mask"), ("_depth.npy", "depth"), ("_normal.npy", "normals"), (".png", "image"))
_FOREIGN = "not of DIODE's layout"
NEEDED = ("image", "depth", "mask")


def layout(split: str, scene_type: str = "all") -> Layout:
    """Describe DIODE's layout: a sample is an image, its depth and its mask.

    Args:
        split: "train" or "val".
        scene_type: "outdoor", "indoors" or "all".
    """
    wanted = "{indoors,outdoor}" if scene_type == "all" else scene_type
    other = "val" if split == "train" else "train"
    return Layout(
        parse=partial(parse, split=split, scene_type=scene_type),
        needed=NEEDED,
        expected=f"DIODE's {split}/{wanted}/scene_NNNNN/scan_NNNNN/*.png",
        foreign=(_FOREIGN, f"of {other}/indoors", f"of {other}/outdoor"),
    )


def parse(name: str, split: str, scene_type: str = "all") -> SourcePart | SkippedFile:
    """Parse the name of a file: which part of which sample it is, or why it is skipped.

    Args:
        name: With `/`, from any level above the split.
        split: "train" or "val".
        scene_type: "outdoor", "indoors" or "all".
    """
    match = _PATH.search(name)
    stem, role = _role(match)
    if match is not None and (match["split"] != split or scene_type not in ("all", match["type"])):
        return SkippedFile(f"of {match['split']}/{match['type']}")
    if match is None or role not in NEEDED:
        return SkippedFile(role, refused=role.startswith("misnamed"))
    try:
        key = make_key(stem)
    except ValueError as error:
        return SkippedFile(f"misnamed: {error}", refused=True)
    origin = Origin(split=split, scene=match["scene"], scan=match["scan"], scene_type=match["type"])
    return SourcePart(key=key, role=role, origin=origin)


def _role(match: re.Match[str] | None) -> tuple[str, str]:
    """Return stem and role of a file; a role that is none of `NEEDED` is the reason to skip it."""
    if match is None:
        return "", _FOREIGN
    name = match["name"]
    if name.startswith("._"):
        return "", "AppleDouble file"
    for suffix, role in _ROLES:
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            expected = f"{match['scene']}_{match['scan']}_{match['type']}_"
            return stem, role if stem.startswith(expected) else f"misnamed: expected a name that begins with {expected}"
    return "", "other file"
