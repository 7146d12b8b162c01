"""MegaDepth v1: which files of its tree make a sample.

Layout: `.../SCENE/denseN/imgs/STEM.{jpg,png}` and `.../SCENE/denseN/depths/STEM.h5` (Li and Snavely, CVPR 2018). Stems
repeat across scenes and dense folders, so the key is `SCENE_denseN_STEM`.
"""

import re
from functools import partial

from sharding.format.names import make_key
from sharding.format.origin import Origin
from sharding.sources.layout import Layout
from sharding.sources.pairing import SkippedFile, SourcePart

_PATH = re.compile(
    r"(?:^|/)(?P<scene>\d{4})/(?P<dense>dense\d+)/(?P<folder>imgs|depths)/(?P<stem>[^/]+)\.(?P<ext>[^./]+)$"
)
_FOREIGN = "not of MegaDepth's layout"
_ROLES = {("imgs", "jpg"): "image", ("imgs", "jpeg"): "image", ("imgs", "png"): "image", ("depths", "h5"): "depth"}


def layout(with_depth: bool) -> Layout:
    """Describe MegaDepth's layout: a sample is an image and, if wanted, its depth map.

    Args:
        with_depth: Whether a sample needs its depth map; otherwise depth maps are skipped.
    """
    return Layout(
        parse=partial(parse, with_depth=with_depth),
        needed=needed(with_depth),
        expected="MegaDepth's SCENE/denseN/imgs/*.jpg",
        foreign=(_FOREIGN,),
    )


def needed(with_depth: bool) -> tuple[str, ...]:
    """Return the roles that a complete sample has."""
    return ("image", "depth") if with_depth else ("image",)


def parse(name: str, with_depth: bool) -> SourcePart | SkippedFile:
    """Parse the name of a file: which part of which sample it is, or why it is skipped.

    Args:
        name: With `/`, from any level above the scenes.
        with_depth: Whether depth maps are wanted.
    """
    match = _PATH.search(name)
    role = _role(match, with_depth)
    if match is None or role not in ("image", "depth"):
        return SkippedFile(role)
    try:
        key = make_key(match["scene"], match["dense"], match["stem"])
    except ValueError as error:
        return SkippedFile(f"misnamed: {error}", refused=True)
    origin = Origin(scene=match["scene"], scan=match["dense"], scene_type="outdoor")
    return SourcePart(key=key, role=role, origin=origin)


def _role(match: re.Match[str] | None, with_depth: bool) -> str:
    """Return the role of a file, or the reason to skip it."""
    if match is None:
        return _FOREIGN
    if match["stem"].startswith("._"):
        return "AppleDouble file"
    role = _ROLES.get((match["folder"], match["ext"].lower()), f"unexpected .{match['ext']} in {match['folder']}")
    return "depth map (without --with-depth)" if role == "depth" and not with_depth else role
