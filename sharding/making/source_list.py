"""The first file by which a source differs from the one that a set was begun with, or made of."""

from collections.abc import Mapping, Sequence

from sharding.errors import DataError
from sharding.format.names import QUARANTINE_NAME
from sharding.making.target import SetTarget
from sharding.sources.pairing import Pairing, Refusal
from sharding.sources.quarantine import decode_quarantine
from sharding.sources.source import SourceFile


def first_difference(before: Mapping[str, int], files: Sequence[SourceFile]) -> str:
    """Name the first file by which a source differs from what it was; "" if none does.

    Args:
        before: What `sizes` returned then.
        files: Those of the source now.
    """
    now = sizes(files)
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
        known = set(decode_index(target.read(INDEX_NAME) or b"", INDEX_NAME)["key"])
        refused = decode_quarantine(target.read(QUARANTINE_NAME) or b"", QUARANTINE_NAME)
        known |= {_label(refusal) for refusal in refused}
    except DataError:
        return ""
    found = {one.key: next(iter(one.files.values())).name for one in pairing.candidates}
    found |= {_label(one): one.files[0] for one in pairing.refused}
    for label in sorted(known ^ found.keys()):
        return f"{found[label].partition('/')[2]} is new" if label in found else f"the files of {label} are gone"
    return "the samples have the same names, and some file is gone, new or of another size"


def _label(refusal: Refusal) -> str:
    """Return the key of refused files; a misnamed one has none, only a name, of which the first folder may differ."""
    return refusal.key or "".join(refusal.files[:1]).partition("/")[2]


def sizes(files: Sequence[SourceFile]) -> dict[str, int]:
    """Return the size in bytes of each file, by its name below the root."""
    return {file.name.partition("/")[2]: file.bytes for file in files}
