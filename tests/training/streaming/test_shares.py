"""The arithmetic of streaming, over many worlds."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.loading.upcoming import Upcoming
from training.streaming.shares import cut_ring, find_place, lane_span


@st.composite
def worlds(draw):
    world, share_batches, micro = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    share = share_batches * micro
    return world, share, micro, draw(st.integers(1, 7)), draw(st.integers(0, 5))


def plans(world, share, micro, steps):
    return [
        Upcoming(step=world * share, share=share, rank=rank, whole_steps=steps, batch_size=micro)
        for rank in range(world)
    ]


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_the_streams_of_all_ranks_follow_on_each_other_and_have_what_the_loader_asks_for(case):
    world, share, micro, steps, workers = case
    lanes, end = max(1, workers), 0
    for plan in plans(world, share, micro, steps):
        asked = Counter()
        for number in range(len(plan) // micro):  # batch by batch, as a loader gives them to its workers
            for place in range(micro):
                at = number * micro + place
                position = at // share * plan.step + plan.rank * share + at % share
                found = find_place(plan, position, lanes)
                assert (found.lane, found.turn) == (number % lanes, asked[number % lanes])
                asked[found.lane] += 1
        for lane in range(lanes):
            span = lane_span(plan, lane, lanes)
            assert (span.start, len(span)) == (end, asked[lane])
            end = span.stop
    assert end == world * share * steps


def test_another_ranks_position_has_no_place():
    plan = plans(2, 4, 2, 3)[0]
    for position in (4, 7, 12, 24):
        with pytest.raises(IndexError, match=rf"position {position} is none of rank 0's"):
            find_place(plan, position, 1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    st.integers(0, 99),
    st.integers(0, 5),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_spans_that_follow_on_each_other_take_each_sample_once(sizes, seed, epoch, cuts):
    total = sum(sizes)
    borders = sorted({0, total, *(int(cut * total) for cut in cuts)})
    taken = [
        (one.shard, sample)
        for begin, end in pairwise(borders)
        for one in cut_ring(sizes, seed, epoch, range(begin, end))
        for sample in range(one.begin, one.end)
    ]
    assert sorted(taken) == [(shard, sample) for shard, size in enumerate(sizes) for sample in range(size)]
    whole = cut_ring(sizes, seed, epoch, range(total))
    assert taken == [(one.shard, sample) for one in whole for sample in range(one.begin, one.end)]
    assert len(whole) <= sum(map(bool, sizes)) + 1  # a shard is opened once, but for the one where the ring is cut


def test_an_empty_span_is_made_of_nothing():
    assert cut_ring([3, 4], 0, 0, range(2, 2)) == []


def test_each_sample_of_a_single_shard_is_left_over_about_as_often():
    """10 samples in steps of 4: two are left over in each epoch."""
    trained = Counter()
    for epoch in range(2000):
        for one in cut_ring([10], 0, epoch, range(8)):
            trained.update(range(one.begin, one.end))
    counts = np.array([trained[sample] for sample in range(10)])
    assert counts.sum() == 16000
    assert abs(counts - 1600).max() < 5 * np.sqrt(2000 * 0.8 * 0.2)  # five standard deviations
