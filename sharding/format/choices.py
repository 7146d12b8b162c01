"""Values that a user chooses from, as options and manifests spell them. Imports nothing heavy."""

from typing import Literal

Preset = Literal["exact", "compact"]
"""How samples are encoded: bit-exact, or smaller with a measured error."""

Check = Literal["header", "decode"]
"""How a JPEG file that is stored unchanged is checked: its header and end marker, or every pixel."""

Compression = Literal["zstd", "none"]
"""Compression of a shard: `.tar.zst` with one frame per member, or `.tar`."""
