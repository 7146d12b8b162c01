"""What depth means in a set, and the views that have none."""

import numpy as np
import pytest

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.depth_sets.kinds import depth_kind, with_depth, without_depth

DEPTH = np.full((40, 48), 4.0)


@pytest.fixture(scope="module")
def holed(make_set) -> ShardSet:
    """Five views, of which two have no return."""
    masks = [np.ones_like(DEPTH), np.zeros_like(DEPTH), np.ones_like(DEPTH), np.zeros_like(DEPTH), np.ones_like(DEPTH)]
    return make_set([(f"{7 + number % 2:05d}", DEPTH, mask) for number, mask in enumerate(masks)])


def relabelled(samples: ShardSet, **columns: list) -> ShardSet:
    """The set with other values in its index."""
    changed = ShardSet(samples.url)
    for name, values in columns.items():
        dtype = changed.index[name].dtype
        changed._take(changed.index.assign(**{name: values}).astype({name: dtype}))
    return changed


def test_views_without_a_return_have_no_kind_and_are_left_out(holed):
    assert depth_kind(holed) == "metric"
    assert int(without_depth(holed).sum()) == 2
    left, count = with_depth(holed, "metric")
    assert count == 2
    assert all(sample.valid.all() for sample in left.read(range(3)))
    assert ShardSet(holed.url, left.where).ids.tolist() == left.ids.tolist()


def test_a_map_that_is_called_metric_and_has_no_valid_pixel_is_one_without_a_return(holed):
    called = relabelled(holed, kind=["metric"] * 5)
    assert with_depth(called, "metric")[1] == 2


def test_a_set_whose_views_all_have_depth_is_left_as_it_is(diode_sets):
    assert with_depth(diode_sets[0], "metric") == (diode_sets[0], 0)


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
    with pytest.raises(DataError, match=said):
        depth_kind(
            relabelled(holed, kind=kinds, valid_fraction=[float(kind in ("metric", "up_to_scale")) for kind in kinds])
        )


def test_depth_up_to_scale_is_a_kind(holed):
    kinds = ["up_to_scale", "none", "up_to_scale", "none", "up_to_scale"]
    assert depth_kind(relabelled(holed, kind=kinds, valid_fraction=[0.5, 0.0, 0.5, 0.0, 0.5])) == "up_to_scale"
