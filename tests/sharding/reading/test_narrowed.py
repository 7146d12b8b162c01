"""A subset of an open set is the set opened with both conditions."""

import pytest

from sharding.errors import UsageError
from sharding.format.where_text import conjoin
from sharding.reading.shard_set import ShardSet

OUTDOOR = "scene_type == 'outdoor'"


def assert_same(one: ShardSet, other: ShardSet) -> None:
    assert one.where == other.where
    assert one.index.equals(other.index)
    assert one.ids.tolist() == other.ids.tolist()
    assert one.shard_sizes.tolist() == other.shard_sizes.tolist()
    rows = range(0, len(one), 5)
    assert [sample.image.tobytes() for sample in one.read(rows)] == [
        sample.image.tobytes() for sample in other.read(rows)
    ]


@pytest.mark.parametrize("where", [None, OUTDOOR, "  height > 0 & (scene == '00008' | scene > '00010') "])
def test_it_has_the_samples_of_both_conditions_in_order(diode_sets, where):
    whole = ShardSet(diode_sets[0].url, where)
    before = list(whole.index["key"])
    subset = whole.narrowed("scene not in ['00007', '00010']").narrowed("index % 2 == 0")
    assert 0 < len(subset) < len(whole)
    expected = whole.index[~whole.index["scene"].isin(["00007", "00010"])]
    assert list(subset.index["key"]) == list(expected[expected.index % 2 == 0]["key"])
    assert_same(subset, ShardSet(whole.url, subset.where))
    assert list(whole.index["key"]) == before


def test_an_or_in_either_condition_stays_within_it():
    assert conjoin("a == 1 or b == 2", "c == 3 or d == 4") == "(a == 1 or b == 2) and (c == 3 or d == 4)"
    assert conjoin(None, "a == 1") == "a == 1"


def test_a_condition_that_no_sample_meets_is_refused(diode_sets):
    with pytest.raises(UsageError, match="selects none of 40 samples"):
        diode_sets[0].narrowed("height > 10000")
