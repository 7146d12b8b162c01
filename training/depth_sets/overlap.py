"""What a training and a validation set share: scenes, whose views overlap, and samples."""

from sharding.escaping import shorten
from sharding.reading.shard_set import ShardSet

_LISTED = 5  # names, at most, of each kind


def describe_overlap(train: ShardSet, val: ShardSet) -> str:
    """Say which scenes and keys two sets share, from their indexes; "" if they share none.

    Samples without a scene (an empty text) are compared by their keys alone.
    """
    scenes = sorted(_texts(train, "scene") & _texts(val, "scene") - {""})
    keys = sorted(_texts(train, "key") & _texts(val, "key"))
    parts = [_describe(scenes, "scene"), _describe(keys, "sample")]
    return " and ".join(filter(None, parts))


def _texts(samples: ShardSet, column: str) -> set[str]:
    return set(samples.rows[column].unique())


def _describe(names: list[str], noun: str) -> str:
    """Count names and list the first of them; "" for none."""
    if not names:
        return ""
    more = ", ..." if len(names) > _LISTED else ""
    listed = ", ".join(shorten(name, 60) for name in names[:_LISTED])
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({listed}{more})"
