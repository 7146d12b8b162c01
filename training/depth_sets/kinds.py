"""What the depth of a set means, and which of its views have none."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.depth_options import TrainedKind
from training.metrics.protocols import MIN_VALID_PIXELS, PROTOCOLS

_TRAINED = ("metric", "up_to_scale")


def depth_kind(samples: ShardSet, option: str = "--where") -> TrainedKind:
    """Return what depth means in a set; views without any are not asked.

    Args:
        samples: The set, or subset.
        option: Option that selects the subset, for messages.

    Raises:
        DataError: Its depth is of several kinds, or of none that a network is trained on; the message has the counts.
    """
    kinds = samples.index["kind"][~without_depth(samples)].value_counts().sort_index().to_dict()
    match list(kinds):
        case []:
            raise DataError(f"{samples.url}: no sample has a valid pixel; look at it with `depthstream inspect`")
        case ["metric"]:
            return "metric"
        case ["up_to_scale"]:
            return "up_to_scale"
    found = ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
    choices = " or ".join(f"{option} \"kind == '{kind}'\"" for kind in _TRAINED if kind in kinds)
    remedy = f"choose the subset of one kind with {choices}, or give another set" if choices else "give another set"
    raise DataError(
        f"{samples.url}: fine-tuning needs depth in metres, or all of it up to scale, found {found}; {remedy}"
    )


def without_depth(samples: ShardSet) -> NDArray[np.bool_]:
    """Tell which samples have no valid pixel, from the index alone: bool (N,). Ordinal maps are another matter."""
    kind: Any = samples.index["kind"]
    empty = kind.isin(_TRAINED) & ~(samples.index["valid_fraction"] > 0)
    return np.asarray((kind == "none") | empty, np.bool_)


def with_depth(samples: ShardSet, kind: TrainedKind) -> tuple[ShardSet, int]:
    """Leave out the samples without a valid pixel; return the others, and how many were left out.

    Args:
        samples: The set, or subset; itself if all have depth.
        kind: Its `depth_kind`.
    """
    count = int(without_depth(samples).sum())
    return (samples.narrowed(f"kind == '{kind}' and valid_fraction > 0") if count else samples), count


def require_countable(samples: ShardSet) -> None:
    """Check that validation may count a view, from the index alone: it would fail after an epoch of training.

    Raises:
        DataError: All views have fewer than `MIN_VALID_PIXELS` valid pixels, or, in metres, all their depth out of the
            range that counts.
    """
    index = samples.index
    pixels = (index["valid_fraction"] * index["height"] * index["width"]).round()
    if not (pixels >= MIN_VALID_PIXELS).any():
        raise DataError(
            f"{samples.url}: expected views with at least {MIN_VALID_PIXELS} valid pixels to validate on, found at "
            f"most {int(pixels.max())}; validate on other views"
        )
    headline = PROTOCOLS["headline"]
    least, most = headline.min_depth, headline.max_depth or math.inf
    metric = index["kind"] == "metric"
    if metric.all() and not ((index["depth_max"] >= least) & (index["depth_min"] <= most)).any():
        raise DataError(
            f"{samples.url}: expected views with depth from {least:g} to {most:g} m to validate on, found "
            f"{index['depth_min'].min():g} to {index['depth_max'].max():g} m; validate on other views"
        )
