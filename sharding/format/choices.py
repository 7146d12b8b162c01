"""What a user chooses by a word, as options and manifests spell it. Imports nothing heavy."""

from typing import Literal

Preset = Literal["exact", "compact"]
"""How samples are encoded: bit for bit, or smaller with a measured error."""

Check = Literal["header", "decode"]
"""How far a JPEG file that is stored as it is gets checked: its header and end, or every pixel."""

Compression = Literal["zstd", "none"]
"""Of a shard: `.tar.zst` with one frame a member, or `.tar`."""
