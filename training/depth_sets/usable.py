"""Which views of a set a run trains on, and whether it can be validated on them; from the index alone."""

import math

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.depth_options import TrainedKind
from training.metrics.kinds import without_depth
from training.metrics.protocols import MIN_VALID_PIXELS, PROTOCOLS


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
    index = samples.rows
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
