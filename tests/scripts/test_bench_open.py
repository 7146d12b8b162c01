"""The repeated set is a set, each row of which is read; the program measures what it opens."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench_open import format_figures, read
from repeated_set import ROWS_A_SHARD, make_views, repeat_views

from sharding.reading.shard_set import ShardSet

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_open.py"
ROWS = 2 * ROWS_A_SHARD + 7


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return make_views(tmp_path_factory.mktemp("open") / "views")


@pytest.fixture(scope="module")
def repeated(views, tmp_path_factory):
    target = tmp_path_factory.mktemp("open") / "repeated"
    repeat_views(views, ROWS, target)
    return ShardSet(target)


def test_each_row_is_one_of_the_views_with_a_key_of_its_own(views, repeated):
    assert len(repeated) == ROWS
    assert repeated.shard_sizes.tolist() == [ROWS_A_SHARD, ROWS_A_SHARD, 7]
    assert repeated.index["key"].is_unique
    assert repeated.index["key"].str.fullmatch(r"\d{5}_\d{5}_outdoor_\d{3}_\d{3}").all()
    for row in (0, 1, ROWS_A_SHARD, ROWS - 1):
        np.testing.assert_array_equal(repeated[row].depth, views[row % len(views)].depth)
        np.testing.assert_array_equal(repeated[row].image, views[row % len(views)].image)


def test_opening_and_reading_take_time_and_memory(repeated):
    figures = read(str(repeated.address), 5)
    assert figures.keys() == {"cpu_s", "wall_s", "mb", "first_item_s", "item_ms"}
    assert all(value > 0 for name, value in figures.items() if name != "mb")
    assert 0 <= figures["mb"] < 200


def test_the_table_has_a_line_for_each_number_of_rows():
    one = {"median": 1.0, "least": 0.5, "most": 2.0}
    row = {"index_mb": 0.1} | dict.fromkeys(("cpu_s", "wall_s", "mb", "first_item_s", "item_ms"), one)
    first, *lines = format_figures({100: row, 1000: row}).splitlines()
    assert [line.split()[0] for line in lines] == ["100", "1000"]
    assert first.split()[0] == "rows"
    assert "1.000 (0.500-2.000)" in lines[0]


@pytest.mark.slow
def test_the_program_prints_figures_and_bounds():
    words = [sys.executable, SCRIPT, "--rows", "100", "1000000", "--repeats", "1", "--items", "3", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert list(data["rows"]) == ["100", "1000000"]
    assert data["open_1e6_mb"] <= data["bounds"]["open_1e6_mb"]
    assert data["missed"] in ([], ["open_1e6_s"])  # a busy machine takes longer
