"""The files of a source as a list that is kept while a set is made, and the first file by which two lists differ."""

import json
import zlib
from collections.abc import Sequence

from sharding.errors import DataError
from sharding.format.names import QUARANTINE_NAME
from sharding.making.target import SetTarget
from sharding.sources.pairing import Pairing
from sharding.sources.source import SourceFile


def encode_list(files: Sequence[SourceFile]) -> bytes:
    """Encode names, below the root, and sizes."""
    return zlib.compress(json.dumps(sorted(_entries(files).items())).encode(), 1)


def first_difference(kept: bytes | None, files: Sequence[SourceFile]) -> str:
    """Name the first file by which a source differs from a list that was kept; "" if the list is lost.

    Args:
        kept: What `encode_list` returned.
        files: Those of the source now.
    """
    try:
        before = dict(json.loads(zlib.decompress(kept or b"")))
    except (zlib.error, ValueError, TypeError):
        return ""
    now = _entries(files)
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            return f"{name} is gone"
        if name not in before:
            return f"{name} is new"
        if before[name] != now[name]:
            return f"{name} had {before[name]} bytes, and has {now[name]}"
    return ""


def explain_source(target: SetTarget, pairing: Pairing) -> str:
    """Name the first sample by which a source differs from the finished set at `target`; "" if that cannot be told."""
    from sharding.format.index import INDEX_NAME, decode_index  # takes half a second: only where it is needed

    try:
        keys = set(decode_index(target.read(INDEX_NAME) or b"", INDEX_NAME)["key"])
        refused = {json.loads(line)["key"] for line in (target.read(QUARANTINE_NAME) or b"").splitlines()}
    except (DataError, ValueError, KeyError):
        return ""
    found = {one.key: next(iter(one.files.values())).name for one in pairing.candidates}
    found |= {one.key: one.files[0] for one in pairing.refused if one.key}
    for key in sorted((keys | refused - {""}) ^ found.keys()):
        return f"{found[key].partition('/')[2]} is new" if key in found else f"the files of {key} are gone"
    return "the names are the same and sizes are not"


def _entries(files: Sequence[SourceFile]) -> dict[str, int]:
    return {file.name.partition("/")[2]: file.bytes for file in files}
