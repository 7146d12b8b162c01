import numpy as np

from sharding.format.sample import depth_facts


def test_the_median_of_values_whose_sum_overflows_is_finite():
    depth = np.full((4, 6), 3e38, np.float32)
    facts = depth_facts(depth, np.ones((4, 6), np.bool_), "up_to_scale")
    assert facts.depth_median == facts.depth_max == float(np.float32(3e38))
