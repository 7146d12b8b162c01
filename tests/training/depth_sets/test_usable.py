"""The views that have depth."""

import numpy as np

from sharding.reading.shard_set import ShardSet
from training.depth_sets.usable import with_depth

DEPTH = np.full((40, 48), 4.0)


def test_views_without_a_valid_pixel_are_left_out(make_set) -> None:
    masks = [np.ones_like(DEPTH), np.zeros_like(DEPTH), np.ones_like(DEPTH)]
    holed = make_set([(f"{7 + number:05d}", DEPTH, mask) for number, mask in enumerate(masks)])
    left, count = with_depth(holed, "metric")
    assert (len(left), count) == (2, 1)
    assert all(sample.valid.all() for sample in left.read(range(2)))
    assert ShardSet(holed.url, left.where).ids.tolist() == left.ids.tolist()


def test_a_set_whose_views_all_have_depth_is_left_as_it_is(diode_sets) -> None:
    assert with_depth(diode_sets[0], "metric") == (diode_sets[0], 0)
