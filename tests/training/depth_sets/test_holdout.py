"""Scenes that are held out: by number and by name, the same every time, and the wishes that are refused."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import pandas as pd
import pyarrow as pa
import pytest

from sharding.errors import UsageError
from sharding.format.index import COLUMNS
from sharding.format.index_rows import IndexRows
from sharding.reading.shard_set import ShardSet
from training.depth_sets.holdout import choose_scenes, draw_scenes, hold_out, meaning_of_wish
from training.metrics.kinds import without_depth

DIODE = [f"{number:05d}" for number in range(7, 19)]


def test_the_draw_is_this_one_on_every_machine():
    """A change of it would change what every recorded run was trained on."""
    assert draw_scenes(DIODE, 3, 0) == ("00009", "00010", "00015")
    assert draw_scenes(DIODE, 3, 1) == ("00008", "00012", "00014")


def test_the_draw_follows_from_names_number_and_seed_alone():
    assert draw_scenes(DIODE, 3, 5) == draw_scenes(DIODE[::-1], 3, 5)
    assert len({draw_scenes(DIODE, 3, seed) for seed in range(50)}) > 30


def test_a_larger_number_adds_scenes_to_those_of_a_smaller_one():
    drawn = [set(draw_scenes(DIODE, number, 4)) for number in range(len(DIODE) + 1)]
    assert [len(one) for one in drawn] == list(range(len(DIODE) + 1))
    assert all(smaller < larger for smaller, larger in pairwise(drawn))


def test_all_subsets_are_drawn_equally_often():
    names, draws = ["a", "b", "c", "d", "e"], 20_000
    counts = Counter(draw_scenes(names, 2, seed) for seed in range(draws))
    assert set(counts) == set(combinations(names, 2))
    expected = draws / 10
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 27.9  # chi-squared, 9 df, p = 0.001


@pytest.mark.parametrize(
    ("wish", "scenes"),
    [
        ("3", draw_scenes(DIODE, 3, 2)),
        ("00007", ("00007",)),
        ("00012,00008", ("00008", "00012")),
        (" 00012 , 00012 ,", ("00012",)),
    ],
)
def test_a_wish_is_a_number_or_names(wish, scenes):
    assert choose_scenes(DIODE, wish, 2) == scenes


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("0", "--holdout-scenes 0: expected at least 1 scene; leave it out"),
        ("-2", "--holdout-scenes -2: expected at least 1 scene"),
        (" , ", "expected a number of scenes, or their names with commas"),
        ("00007,00099,kitchen", "the training set has no scene 00099, kitchen; it has 00007, 00008, .*, 00018$"),
        ("2.5", "no scene 2.5; it has 00007"),
        ("12", "has 12 scenes, so none would be left to train on; hold at most 11 of them out: 00007, "),
        ("500", "hold at most 11 of them out"),
        (",".join(DIODE), "has 12 scenes, so none would be left"),
    ],
)
def test_an_impossible_wish_is_refused_with_what_there_is(wish, said):
    with pytest.raises(UsageError, match=said):
        choose_scenes(DIODE, wish, 0)


def test_a_number_that_is_a_scene_as_well_is_not_guessed():
    with pytest.raises(UsageError, match="there is a scene named 3; write 3, with a comma for that scene"):
        choose_scenes(["1", "2", "3", "4"], "3", 0)
    assert choose_scenes(["1", "2", "3", "4"], "3,", 0) == ("3",)


@pytest.mark.parametrize("where", [None, "scene_type == 'outdoor' or scene == '00001'"])
def test_the_two_parts_are_the_set_and_share_no_scene(diode_sets, where):
    whole = ShardSet(diode_sets[0].url, where)
    train, val, scenes = hold_out(whole, without_depth(whole), "3", seed=1)
    assert len(scenes) == 3
    assert set(val.index["scene"]) == set(scenes)
    assert not set(train.index["scene"]) & set(scenes)
    assert sorted([*train.ids, *val.ids]) == list(whole.ids)
    for part in (train, val):
        assert ShardSet(whole.url, part.where).ids.tolist() == part.ids.tolist()


def renamed(samples: ShardSet, names: dict[str, str]) -> ShardSet:
    """The set with other names of scenes in its index."""
    return with_scenes(samples, [names.get(name, name) for name in samples.index["scene"]])


def with_scenes(samples: ShardSet, scenes: Sequence[str]) -> ShardSet:
    """The set with these scenes in its index."""
    changed = ShardSet(samples.url)
    frame = samples.index.assign(scene=pd.array(scenes, dtype="str"))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    columns = (column.combine_chunks() for column in table.columns)
    changed._take(IndexRows(dict(zip(table.column_names, columns, strict=True)), COLUMNS))
    return changed


def test_a_scene_of_any_name_is_held_out(diode_sets):
    odd = "it's a \"scene\"\n\\ \u00fc'] or scene in ['00007"
    whole = renamed(diode_sets[0], {"00008": odd})
    train, val, scenes = hold_out(whole, without_depth(whole), f"{odd},", seed=0)
    assert scenes == (odd,)
    assert set(val.index["scene"]) == {odd}
    assert "00007" in set(train.index["scene"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            {"00007": ""},
            r"of 40 samples of .* have no scene, .*; choose those that have one with --where \"scene != ''\"",
        ),
        (None, r"40 of 40 samples of .* have no scene, .*; validate on another set with --val"),
    ],
)
def test_samples_without_a_scene_cannot_be_held_out(diode_sets, names, said):
    every = dict.fromkeys(diode_sets[0].index["scene"], "")
    whole = renamed(diode_sets[0], every if names is None else names)
    with pytest.raises(UsageError, match=said):
        hold_out(whole, without_depth(whole), "1", seed=0)


def test_more_names_than_a_condition_holds_are_refused(diode_sets):
    samples = with_scenes(diode_sets[0], [f"{number:02d}" + "x" * 200 for number in range(len(diode_sets[0]))])
    with pytest.raises(UsageError, match="the names of 30 scenes are longer than 2048 characters together"):
        hold_out(samples, without_depth(samples), "30", seed=0)


def test_a_scene_without_a_valid_pixel_is_not_drawn_but_may_be_named():
    drawn = draw_scenes(DIODE, 3, 2)
    undrawn = set(drawn[:2])
    rest = [name for name in DIODE if name not in undrawn]
    assert choose_scenes(DIODE, "3", 2, undrawn) == draw_scenes(rest, 3, 2) != drawn
    assert choose_scenes(DIODE, ",".join(drawn), 2, undrawn) == drawn
    with pytest.raises(UsageError, match=r"has 10 scenes with a valid pixel, so none .*; hold at most 9 of them out"):
        choose_scenes(DIODE, "10", 2, undrawn)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("00007", " 00007 ,", True),
        ("00012,00007", "00007, 00012,00007", True),
        ("3", " 3 ", True),
        ("3", "3,", False),
        ("00007", "00007,00008", False),
    ],
)
def test_wishes_are_the_same_by_what_they_mean(one, other, same):
    assert (meaning_of_wish(one) == meaning_of_wish(other)) is same
