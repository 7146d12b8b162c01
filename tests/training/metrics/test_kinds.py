"""What depth means in a set, and which views have none."""

import numpy as np
import pytest

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.metrics.kinds import depth_kind, require_metres, without_depth

DEPTH = np.full((40, 48), 4.0)


@pytest.fixture(scope="module")
def holed(make_set) -> ShardSet:
    """Five views, of which two have no valid pixel."""
    masks = [np.ones_like(DEPTH), np.zeros_like(DEPTH), np.ones_like(DEPTH), np.zeros_like(DEPTH), np.ones_like(DEPTH)]
    return make_set([(f"{7 + number % 2:05d}", DEPTH, mask) for number, mask in enumerate(masks)])


def relabelled(samples: ShardSet, **columns: list) -> ShardSet:
    """The set with other values in its index."""
    changed = ShardSet(samples.url)
    frame = changed.rows.to_frame()
    changed.rows = frame.assign(**columns).astype(frame.dtypes.to_dict())
    return changed


def test_views_without_a_valid_pixel_have_no_kind(holed):
    assert depth_kind(holed) == "metric"
    assert without_depth(holed).tolist() == [not sample.valid.any() for sample in holed.read(range(5))]


def test_a_map_that_is_called_metric_and_has_no_valid_pixel_is_one_without_depth(holed):
    called = relabelled(holed, kind=["metric"] * 5)
    assert int(without_depth(called).sum()) == 2


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (
            ["metric", "none", "up_to_scale", "none", "metric"],
            r"found 2 of kind metric, 1 of kind up_to_scale; choose the subset of one kind with "
            r"--where \"kind == 'metric'\" or --where \"kind == 'up_to_scale'\", or give another set",
        ),
        (
            ["metric", "ordinal", "ordinal", "none", "metric"],
            r"found 2 of kind metric, 2 of kind ordinal; .*'metric'\", or",
        ),
        (["ordinal"] * 5, "found 5 of kind ordinal; give another set"),
        (["none"] * 5, "no sample has a valid pixel"),
    ],
)
def test_depth_of_several_kinds_is_refused_with_counts_and_the_query(holed, kinds, said):
    with pytest.raises(UsageError, match=said):
        depth_kind(
            relabelled(holed, kind=kinds, valid_fraction=[float(kind in ("metric", "up_to_scale")) for kind in kinds])
        )


def test_depth_up_to_scale_is_a_kind_and_not_that_of_baselines(holed):
    kinds = ["up_to_scale", "none", "up_to_scale", "none", "up_to_scale"]
    scaled = relabelled(holed, kind=kinds, valid_fraction=[0.5, 0.0, 0.5, 0.0, 0.5])
    assert depth_kind(scaled) == "up_to_scale"
    require_metres(holed)
    with pytest.raises(UsageError, match=r"baselines are in metres, but the depth of .* is up to scale"):
        require_metres(scaled)
