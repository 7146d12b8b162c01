"""The most that is accepted of anything that was not made here: files, headers, images, tables.

Enough for MegaDepth and DIODE, and for pictures of 8K (7680 x 4320), and little enough that a file that was damaged, or
made to exhaust memory, is refused by name before memory is allocated for it. `DEPTHSTREAM_LIMITS=4` in the environment,
which workers inherit, raises all of them fourfold.
"""

import math
import os
import re

from sharding.errors import UsageError

VARIABLE = "DEPTHSTREAM_LIMITS"
"""Environment variable: what the limits are multiplied by, a number of at least 1."""


def _factor() -> float:
    text = os.environ.get(VARIABLE) or "1"
    # Not all that `float` takes: "1_0", " 4" and digits of other alphabets.
    found = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[0-9]+)?", text) else math.nan
    return found if 1 <= found <= 1e6 else math.nan


_FACTOR = _factor()


def _raised(limit: int) -> int:
    return limit if math.isnan(_FACTOR) else int(limit * _FACTOR)


MAX_PIXELS = _raised(1 << 26)
"""Pixels of an image or a map: two pictures of 8K; depth of that size takes 256 MiB as float32."""

MAX_MEMBER_BYTES = _raised(256 << 20)
"""Bytes of a source file, in an archive, a folder or a foreign tar: ten times the largest of MegaDepth or DIODE."""

MAX_PAYLOAD_BYTES = _raised(1 << 29)
"""Bytes of a member of a shard after inflation: `MAX_PIXELS` of float32 with a header, twice."""

MAX_JSON_BYTES = _raised(64 << 20)
"""Bytes of a manifest, a ledger or another JSON file: a manifest of 200,000 shards has 50 MB."""

MAX_META_BYTES = _raised(1 << 20)
"""Bytes of the JSON member of a sample: those of MegaDepth and DIODE have 600."""

MAX_INDEX_BYTES = _raised(1 << 30)
"""Bytes of an index in memory, without the headers of Python's strings: 4 million samples."""

MAX_FOOTER_BYTES = _raised(4 << 20)
"""Bytes of the description at the end of an index: 800 groups of rows; one of a million rows has 15 kB."""

MAX_TEXT_CHARS = _raised(4096)
"""Characters of a key, a name or another text of a row or a record."""

MAX_WHERE_CHARS = _raised(1 << 16)
"""Characters of a condition (`--where`): a list of 2,000 keys of MegaDepth."""

MAX_WHERE_WORDS = _raised(2000)
"""Names and operators of a condition, without the values of a list: 500 comparisons, each a pass over the index."""

MAX_WHERE_DEPTH = 50
"""Levels of a condition's syntax tree; fixed, because Python's parser and its recursion have limits of their own."""

MAX_EXTENSION_BYTES = _raised(1 << 20)
"""Bytes of the long name and the attributes of a member of a tar: a name of 4,096 bytes, some extended attributes."""

MAX_EXTENSION_ENTRIES = 16
"""Headers before a member of a tar that describe it: those of a long name, a link's name and attributes are three."""

MAX_EXTENSION_RECORDS = _raised(1000)
"""Attributes of a member of a tar in its pax headers: times, names and extended attributes are ten to a hundred."""

MAX_TAR_PADDING_BYTES = _raised(64 << 20)
"""Zeros after the end of a tar, which is padded to a record of 10 KiB, or of a few MiB for tapes."""

MAX_WAYS = _raised(32)
"""Ways by which links lead to one folder of a source: with more, a few links make a tree without end."""


MAX_CHECKPOINT_BYTES = _raised(16 << 30)
"""Bytes of a checkpoint: a U-Net of 400 million parameters with AdamW has 5 GB; it is mapped, not read at once."""

MAX_ENCODER_BYTES = _raised(2 << 30)
"""Bytes of an encoder's file: the largest model of `pretrain`, convnext_large, has 0.8 GB."""

MAX_PICKLE_BYTES = _raised(8 << 20)
"""Bytes of the pickle in such a file, all but the tensors: a checkpoint of a ResNet-101 has less than 2 MB."""

MAX_URL_CHARS = 8192
"""Characters of an address, fixed: as many as servers take; clients of object stores end the process over 65,534."""


def check_factor() -> None:
    """Check the environment variable.

    Raises:
        UsageError: It is no number of at least 1.
    """
    if math.isnan(_FACTOR):
        raise UsageError(f"{VARIABLE}={os.environ.get(VARIABLE)}: expected a number from 1 to 1e6, such as 4")


def over(found: str, limit: int) -> str:
    """Say that something is too large, and what to do about it: "9 pixels; at most 8 are read (...)" of "9 pixels"."""
    return f"{found}; at most {limit} are read ({VARIABLE}=4 in the environment raises the limits fourfold)"
