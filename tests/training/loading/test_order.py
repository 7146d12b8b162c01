from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import UsageError
from training.loading.order import epoch_order, weighted_order

unhurried = settings(deadline=None)  # the machine may be busy
shard_sizes = st.lists(st.integers(0, 40), max_size=8)
seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 10**6)


def plain_order(sizes: list[int], seed: int, epoch: int) -> list[int]:
    """epoch_order with Python's integers and lists: sort the samples by their random key."""
    count = sum(sizes)
    words = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch, 0))).random_raw(count).tolist()
    bits = (count - 1).bit_length()
    keys = [word << bits & (2**64 - 1) for word in words]
    return sorted(range(count), key=keys.__getitem__)


def test_the_order_is_golden():
    # A change here changes every run that is resumed, and every published number. Don't make it lightly.
    assert epoch_order([6, 4], seed=0, epoch=0).tolist() == [7, 0, 5, 4, 8, 3, 9, 6, 2, 1]
    assert epoch_order([6, 4], seed=0, epoch=1).tolist() == [7, 0, 5, 3, 8, 9, 6, 1, 2, 4]
    assert epoch_order([6, 4], seed=1, epoch=0).tolist() == [9, 0, 5, 3, 2, 1, 4, 8, 7, 6]


def test_the_weighted_order_is_golden():
    ids, replicas = weighted_order([4, 2], [1, 2], seed=0, epoch=0)
    assert ids.tolist() == [4, 5, 3, 2, 5, 4]
    assert replicas.tolist() == [1, 0, 0, 0, 1, 0]


@unhurried
@given(shard_sizes, seeds, epochs)
def test_every_sample_comes_exactly_once(sizes, seed, epoch):
    order = epoch_order(sizes, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@unhurried
@given(shard_sizes, seeds, epochs)
def test_the_order_equals_the_plain_version(sizes, seed, epoch):
    assert epoch_order(sizes, seed, epoch).tolist() == plain_order(sizes, seed, epoch)


def test_a_large_order_equals_the_plain_version():
    sizes = np.array([70_001, 0, 60_000], dtype=np.int64)
    assert epoch_order(sizes, 5, 6).tolist() == plain_order(sizes.tolist(), 5, 6)


def test_a_full_shuffle_depends_on_the_number_of_samples_alone():
    assert epoch_order([5, 0, 7], 3, 4).tolist() == epoch_order(np.array([12]), 3, 4).tolist()


def test_epochs_and_seeds_all_differ():
    orders = {tuple(epoch_order([50], seed, epoch).tolist()) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400  # with seed + epoch there would be 39


def test_consecutive_epochs_are_unrelated():
    orders = np.stack([epoch_order([100], 0, epoch) for epoch in range(500)])
    # Two independent permutations agree in 1 place on average, with variance 1.
    assert (orders[1:] == orders[:-1]).sum(axis=1).mean() == pytest.approx(1, abs=4 / 499**0.5)


def test_all_permutations_are_equally_likely():
    num_epochs = 24 * 200
    counts = Counter(tuple(epoch_order([4], 0, epoch).tolist()) for epoch in range(num_epochs))
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert len(counts) == 24
    assert chi_square < 49.7  # the 99.9 % point of chi-square with 23 degrees of freedom


def test_a_sample_moves_a_third_of_the_set_on_average():
    # E|position - sample| = (n^2 - 1) / (3n) for a uniform permutation of n.
    moved = np.abs(epoch_order([100_000], 0, 0) - np.arange(100_000)).mean()
    assert moved == pytest.approx(100_000 / 3, rel=0.01)


def test_an_empty_set_has_an_empty_order():
    for sizes in ([], [0, 0]):
        assert epoch_order(sizes, 0, 0).tolist() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3, -1], 0, 0), "shard_sizes must be >= 0, was -1 at index 1"),
        (([[3]], 0, 0), r"shard_sizes must be a list of integers, was int64 of shape \(1, 1\)"),
        (([1.5], 0, 0), "shard_sizes must be a list of integers, was float64"),
        (([3], -1, 0), "the seed must be >= 0, was -1"),
        (([3], 0, -2), "the epoch counts from 0, was -2"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        epoch_order(*arguments)


def test_without_weights_several_sets_are_one():
    ids, replicas = weighted_order([5, 0, 7], None, 3, 4)
    assert ids.tolist() == epoch_order([5, 0, 7], 3, 4).tolist()
    assert replicas.tolist() == [0] * 12


weighted_sets = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0.01, 100) | st.integers(1, 9)), min_size=1, max_size=5
).map(lambda pairs: tuple(zip(*pairs, strict=True)))


@unhurried
@given(weighted_sets, seeds, epochs)
def test_every_set_gets_its_share_of_draws(sets, seed, epoch):
    sizes, weights = sets
    ids, replicas = weighted_order(sizes, weights, seed, epoch)
    assert (len(ids), len(replicas)) == (sum(sizes), sum(sizes))
    draws = np.histogram(ids, np.concatenate([[0], np.cumsum(sizes)]) - 0.5)[0]
    np.testing.assert_allclose(draws, sum(sizes) * np.array(weights) / sum(weights), rtol=0, atol=1 + 1e-6)


@unhurried
@given(weighted_sets, seeds, epochs)
def test_a_set_is_cycled_and_its_replicas_count_up(sets, seed, epoch):
    sizes, weights = sets
    ids, replicas = weighted_order(sizes, weights, seed, epoch)
    for begin, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        counts = [int((ids == sample).sum()) for sample in range(begin, begin + size)]
        assert max(counts) - min(counts) <= 1
    for sample in set(ids.tolist()):
        drawn = sorted(replicas[ids == sample].tolist())
        assert drawn == list(range(len(drawn)))


@pytest.mark.parametrize(
    ("sizes", "weights", "draws"),
    [
        ([3, 3, 3], [1, 1, 2], [2, 2, 5]),  # shares 2.25, 2.25, 4.5
        ([2, 1, 1], [1, 1, 1], [2, 1, 1]),  # shares 4/3 each: the earlier set wins
        ([3, 7], [0.3, 0.7], [3, 7]),
        ([10, 10], [1, 10**-6], [20, 0]),
        ([100, 20], [1, 2], [40, 80]),
        ([1, 1], [1e308, 1e308], [1, 1]),
    ],
)
def test_draws_are_rounded_by_largest_remainder(sizes, weights, draws):
    ids, _ = weighted_order(sizes, weights, 0, 0)
    assert np.histogram(ids, np.concatenate([[0], np.cumsum(sizes)]) - 0.5)[0].tolist() == draws


def test_weights_that_equal_the_sizes_draw_every_sample_once():
    ids, replicas = weighted_order([9, 4, 30], [9, 4, 30], 0, 0)
    assert sorted(ids.tolist()) == list(range(43))
    assert replicas.max() == 0


def test_a_set_drawn_in_part_shows_other_samples_in_other_epochs():
    epochs_seen = [set(weighted_order([50, 50], [1, 4], 0, epoch)[0].tolist()) & set(range(50)) for epoch in range(60)]
    assert {len(seen) for seen in epochs_seen} == {20}
    assert set().union(*epochs_seen) == set(range(50))


def test_draws_of_the_sets_are_mixed():
    ids, _ = weighted_order([1000, 1000], [3, 1], 0, 0)
    share = (ids < 1000).reshape(10, 200).mean(axis=1)
    assert np.abs(share - 0.75).max() < 4 * (0.75 * 0.25 / 200) ** 0.5


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([3, 4], [1], r"expected one weight for each of 2 sets, found 1: \[1\]"),
        ([3, 4], [1, 0], "weight 1 must be a number above 0, was 0; leave the set out"),
        ([3, 4], [float("nan"), 1], "weight 0 must be a number above 0, was nan"),
        ([3, 4], [float("inf"), 1], "weight 0 must be a number above 0, was inf"),
        ([3, 0], [1, 2], "set 1 has no samples to give weight 2 to"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(sizes, weights, message):
    with pytest.raises(UsageError, match=message):
        weighted_order(sizes, weights, 0, 0)


@unhurried
@given(seeds)
def test_the_same_seed_gives_the_same_order(seed):
    assert epoch_order([30], seed, 2).tolist() == epoch_order([30], seed, 2).tolist()
