import random
from itertools import pairwise

import pytest

from sharding.stores.ranges import cut_range, merge_ranges

DATA = bytes(range(200))


def draw_ranges(numbers):
    return [(numbers.randrange(60), numbers.randrange(9)) for _ in range(numbers.randrange(9))]


def test_merging_covers_exactly_what_was_asked_for():
    random_numbers = random.Random(0)
    for _ in range(500):
        ranges = draw_ranges(random_numbers)
        limit = random_numbers.choice([4, 12, 1000])
        merged = merge_ranges(ranges, limit_bytes=limit)
        asked = {byte for start, length in ranges for byte in range(start, start + length)}
        assert {byte for start, length in merged for byte in range(start, start + length)} == asked
        assert all(length <= max(limit, *(length for _, length in ranges)) for _, length in merged)
        for start, length in ranges:  # none is torn apart
            assert not length or any(s <= start and start + length <= s + n for s, n in merged)
    assert merge_ranges([(10, 5), (0, 10), (16, 2)]) == [(0, 15), (16, 2)]


@pytest.mark.parametrize("gap", [1, 3, 1000])
def test_ranges_with_a_gap_between_them_are_read_as_one_and_others_are_not(gap):
    random_numbers = random.Random(gap)
    for _ in range(300):
        ranges = draw_ranges(random_numbers)
        merged = merge_ranges(ranges, gap)
        assert all(start > sum(before) + gap for before, (start, _) in pairwise(merged))
        asked = [byte for start, length in ranges for byte in range(start, start + length)]
        assert [start for start, _ in merged[:1]] == ([min(asked)] if asked else [])
        assert all(start in asked and start + length - 1 in asked for start, length in merged)


@pytest.mark.parametrize(("gap", "limit"), [(0, None), (0, 4), (0, 12), (2, None), (1000, None)])
def test_each_range_is_cut_out_of_what_was_read_and_none_where_that_is_missing(gap, limit):
    random_numbers = random.Random(1)
    for _ in range(300):
        ranges = draw_ranges(random_numbers)
        pieces = [(span, DATA[span[0] : sum(span)]) for span in merge_ranges(ranges, gap, limit)]
        assert [cut_range(pieces, span) for span in ranges] == [DATA[start : start + n] for start, n in ranges]
        lost = [(span, None) for span, _ in pieces]
        assert [cut_range(lost, span) for span in ranges] == [None if n else b"" for _, n in ranges]
