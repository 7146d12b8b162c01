"""The JSON member of a sample: its source, its size, and the facts of its depth."""

from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from sharding.errors import DataError
from sharding.format.sample import DepthKind
from sharding.format.strict_json import Pixels, Text, parse, to_type
from sharding.limits import MAX_META_BYTES, over

META_FIELDS = ("split", "scene", "scan", "scene_type", "depth_kind", "height", "width")
"""Fields of the member in each set that was made by `depthstream shard`."""

_Fraction = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The fields that this program reads again; a member made elsewhere has none of them, and may have others."""

    split: Text = ""
    scene: Text = ""
    scan: Text = ""
    scene_type: Text = ""
    depth_kind: DepthKind = "none"
    height: Pixels = 0
    width: Pixels = 0
    valid_fraction: _Fraction | None = None
    depth_min: float | None = None
    depth_median: float | None = None
    depth_max: float | None = None


def decode_meta(data: bytes, where: str) -> dict[str, Any]:
    """Decode the member of a sample that `depthstream shard` made.

    Args:
        data: Its payload.
        where: Shard and key, for messages.

    Raises:
        DataError: It is too large, no JSON object, or has a known field of another type; names the field.
    """
    if len(data) > MAX_META_BYTES:
        raise DataError(f"{where}: member .json: {over(f'found {len(data)} bytes', MAX_META_BYTES)}")
    content: dict[str, Any] = parse(data, f"{where}: member .json", floats="nan")
    to_type(content, _Known, f"{where}: member .json")
    return content
