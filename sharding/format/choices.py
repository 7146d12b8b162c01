"""Values that a user chooses from, as options and manifests spell them. Imports nothing heavy."""

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["exact", "compact"]
"""How samples are encoded: bit-exact, or smaller with a measured error."""

Check = Literal["header", "decode"]
"""How a JPEG file that is stored unchanged is checked: its header and end marker, or every pixel."""

Compression = Literal["zstd", "none"]
"""Compression of a shard: `.tar.zst` with one frame per member, or `.tar`."""

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
"""Resolution of the colour of a JPEG: full, half of it across, or half of it across and down."""

JPEG_QUALITY = 90
JPEG_SUBSAMPLING: Subsampling = "4:2:0"
"""How images that become JPEG (`--max-side`, or the compact preset) are encoded by default: measured in
docs/results/jpeg-quality.md."""

Encodings = Literal[1, 2]
"""Which encodings a preset takes. 1: `ppm`, `planes.npy`, `valid.npy`. 2: `rows.npy`, `planes.npy`, `valid.pbm`, or
`log16.npy`; without compression `ppm` and `npy`, whose bytes are in no order that compresses well. A set is compared
with its source by those that it was made with."""

ENCODINGS: Encodings = 2
"""Of sets that are made now."""

_BEFORE_RECORDED = {"jpeg_quality": 95, "jpeg_subsampling": "4:4:4"}


def makes_jpeg(made: Mapping[str, Any]) -> bool:
    """Tell whether images of a set with these options may become JPEG."""
    return made.get("max_side") is not None or made.get("preset") == "compact"


def with_unrecorded(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a set, with those that versions before they existed did not record.

    Images that became JPEG had quality 95 and 4:4:4 then, and presets the first encodings. Options of other sets, or
    that are recorded, stay.
    """
    jpeg = _BEFORE_RECORDED if makes_jpeg(made) else {}
    return jpeg | ({"encodings": 1} if "preset" in made else {}) | dict(made)
