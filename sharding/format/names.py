"""Keys of samples: generated, unique in the set, and safe for every reader of tar shards.

WebDataset cuts a key at the first dot of the base name, so a key holds no dot, no slash and no capital.
"""

import re

QUARANTINE_NAME = "quarantine.jsonl"
"""What was refused when the set was made, and why: a line of JSON each; absent when there is none."""

LEDGER_NAME = ".making"
"""Folder of the ledger, as long as the set is not finished."""


def member_name(key: str, part: str, ext: str) -> str:
    """Name of the member that holds a part: `KEY.EXT` (image), `KEY.json` (meta), `KEY.PART.EXT` (the others)."""
    return f"{key}.{ext}" if part in ("image", "meta") else f"{key}.{part}.{ext}"


MAX_KEY_LENGTH = 80
"""Leaves room for `.depth.EXT` within the 100 bytes of a USTAR name."""

_KEY = re.compile(r"[a-z0-9_-]+")
_UNSAFE = re.compile(r"[^a-z0-9_-]")


def make_key(*fields: str) -> str:
    """Join `fields` into a key: lower case, everything outside `[a-z0-9_-]` becomes `-`.

    Two different sources may be mapped to one key by this; whoever collects keys checks that they are unique.

    Example:
        >>> make_key("0000", "dense0", "2.5_IMG.x")
        '0000_dense0_2-5_img-x'

    Raises:
        ValueError: The key is empty or longer than `MAX_KEY_LENGTH`.
    """
    return check_key(_UNSAFE.sub("-", "_".join(fields).lower()))


def check_key(key: str) -> str:
    """Return `key` if it is one.

    Raises:
        ValueError: It is empty, too long, or holds other characters than `[a-z0-9_-]`.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"key {key!r}: expected only characters of [a-z0-9_-]")
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(
            f"key {key!r} has {len(key)} characters; at most {MAX_KEY_LENGTH} fit a tar header with the part's name"
        )
    return key
