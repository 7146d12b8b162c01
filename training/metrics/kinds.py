"""What the depth of a set means, metres or up to scale, and which of its views have none; from the index alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.depth_options import TRAINED_KINDS, TrainedKind


def depth_kind(samples: ShardSet, option: str = "--where") -> TrainedKind:
    """Return what depth means in a set; views without any are not asked.

    Args:
        samples: The set, or subset.
        option: Option that selects the subset, for messages.

    Raises:
        UsageError: It has no depth, or depth of several kinds, or of none that a network predicts; the message has the
            counts.
    """
    counts = samples.rows["kind"][~without_depth(samples)].value_counts().sort_index().to_dict()
    if not counts:
        raise UsageError(f"{samples.url}: no sample has a valid pixel; look at it with `depthstream inspect`")
    known = [kind for kind in TRAINED_KINDS if kind in counts]
    if len(counts) == len(known) == 1:
        return known[0]
    found = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items())
    choices = " or ".join(f"{option} \"kind == '{kind}'\"" for kind in known)
    remedy = f"choose the subset of one kind with {choices}, or give another set" if choices else "give another set"
    raise UsageError(f"{samples.url}: expected depth in metres, or all of it up to scale, found {found}; {remedy}")


def require_metres(samples: ShardSet) -> None:
    """Check that the depth of a set is in metres, as that of a baseline is.

    Raises:
        UsageError: It is up to scale; or as `depth_kind`.
    """
    if depth_kind(samples) != "metric":
        raise UsageError(f"baselines are in metres, but the depth of {samples.url} is up to scale")


def without_depth(samples: ShardSet) -> NDArray[np.bool_]:
    """Tell which samples have no valid pixel, from the index alone: bool (N,). Ordinal maps are another matter."""
    kind: Any = samples.rows["kind"]
    empty = kind.isin(TRAINED_KINDS) & ~(samples.rows["valid_fraction"] > 0)
    return np.asarray((kind == "none") | empty, np.bool_)
