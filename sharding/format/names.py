"""Names within a set: of files next to manifest and index, of the members of a shard, and keys of samples.

WebDataset cuts a member's name at the first dot of its base name: the part before is the key, the rest the extension.
So a key has no dot. Generated keys have no slash either, which would start a folder, and no capitals, so that they
never differ in case alone; those of `depthstream index` are paths as found.
`MANIFEST_NAME` and `INDEX_NAME` are in `manifest` and `index`.
"""

import re

QUARANTINE_NAME = "quarantine.jsonl"
"""File of the samples that were refused when the set was made, and why, one line of JSON each; absent without any."""

LEDGER_NAME = ".making"
"""Folder of the ledger, until the set is finished."""

WAITING_NAME = f"{LEDGER_NAME}/waiting"
"""Folder in it: files of an archive that wait for others of their sample."""

MAX_KEY_LENGTH = 80
"""Characters; leaves room for `.depth.EXT` within the 100 bytes of a USTAR name."""

_KEY = re.compile(r"[a-z0-9_-]+")
_UNSAFE = re.compile(r"[^a-z0-9_-]")


def member_name(key: str, part: str, ext: str) -> str:
    """Name the member that holds a part: `KEY.EXT` (image), `KEY.json` (meta), `KEY.PART.EXT` (the others)."""
    return f"{key}.{ext}" if part in ("image", "meta") else f"{key}.{part}.{ext}"


def make_key(*fields: str) -> str:
    """Join `fields` into a key: lower case, every character outside `[a-z0-9_-]` becomes `-`.

    Two different sources may get the same key; the caller that collects keys checks that they are unique.

    Example:
        >>> make_key("0000", "dense0", "2.5_IMG.x")
        '0000_dense0_2-5_img-x'

    Raises:
        ValueError: The key is empty or longer than `MAX_KEY_LENGTH`.
    """
    return check_key(_UNSAFE.sub("-", "_".join(fields).lower()))


def check_key(key: str) -> str:
    """Return `key` if it is valid.

    Raises:
        ValueError: It is empty, too long, or holds characters outside `[a-z0-9_-]`.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"key {key!r}: expected only characters of [a-z0-9_-]")
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(
            f"key {key!r} has {len(key)} characters; at most {MAX_KEY_LENGTH} fit a tar header with the part's name"
        )
    return key
