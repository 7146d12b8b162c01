import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_shard import fit_slope, holds, memory_by_gigabyte
from making_bench.process_tree import TreeSample, TreeUsage
from making_bench.turns import Program, Turns

from sharding.errors import DataError

SCRIPT = Path(__file__).parents[2] / "scripts/bench_shard.py"
SMALL = ("--height", "192", "--width", "256", "--distinct", "1", "--repeats", "2", "--views", "12")
SMALL += ("--gigabytes", "0.002", "--diode-gigabytes", "0.001", "--slope-gigabytes", "0.02")
SMALL += ("--settled-gigabytes", "0.001")


def call(*argv, scratch):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    argv = [sys.executable, SCRIPT, *argv, "--scratch", scratch]
    return subprocess.run(argv, capture_output=True, text=True, timeout=170, env=environment)


def usage(wall_s, cpu_s=1.0, samples=(), output=""):
    return TreeUsage(wall_s=wall_s, cpu_s=cpu_s, memory_is="pss", samples=list(samples), output=output)


@pytest.mark.slow
def test_a_folder_is_measured_and_nothing_is_left(tmp_path):
    done = call(*SMALL, "--parts", "folder", "--json", scratch=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    one, two = (found["runs"][f"diode folder, {name}"] for name in ("1 worker", "2 workers"))
    assert one["samples"] == two["samples"] == 12
    assert found["workers2_over_1"] == pytest.approx(two["samples_per_s"] / one["samples_per_s"])
    assert found["workers2_over_1_spread"]["min"] <= found["workers2_over_1_spread"]["max"]
    assert found["peak_rss_mib"] == max(one["peak_mib"], two["peak_mib"]) > 20
    assert found["holds"]["peak_rss_mib"] is True
    assert found["holds"]["images_only_over_tar_xzf"] is None
    assert found["cores"] >= 1
    assert {"python", "rapidgzip", "tar", "gzip"} <= set(found["versions"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_archives_are_measured(tmp_path):
    done = call(*SMALL, "--parts", "archive", "slope", "--json", scratch=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    runs = found["runs"]
    assert runs.keys() == {
        "tar xzf",
        "megadepth images",
        "megadepth --with-depth",
        "diode exact",
        "diode compact",
        "megadepth images over HTTP",
    }
    ratio = runs["megadepth images"]["wall_s"] / runs["tar xzf"]["wall_s"]
    assert found["images_only_over_tar_xzf"] == pytest.approx(ratio)
    for row in runs.values():
        assert row["mb_per_s"] == pytest.approx(row["archive_bytes"] / row["wall_s"] / 1e6)
    assert runs["tar xzf"]["archive_bytes"] == runs["megadepth images"]["archive_bytes"] >= 2_000_000
    assert runs["diode exact"]["archive_bytes"] >= 1_000_000
    assert runs["megadepth images over HTTP"]["archive_bytes"] >= 20_000_000
    assert "rss_slope_mib_per_gb" in found
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_fails_ends_it_with_the_cause(tmp_path):
    turns = Turns()
    broken = Program(argv=(sys.executable, "-m", "training", "shard", "diode"), output=tmp_path / "out", views=1)
    with pytest.raises(DataError, match=r"(?s)found 2: .*missing: SRC"):
        turns.take({"broken": broken}, 1)


def test_a_set_of_too_few_samples_is_no_measurement(tmp_path):
    short = Program(argv=("echo", '{"samples": 3}'), output=tmp_path / "out", views=4)
    with pytest.raises(DataError, match="expected a set of 4 samples, found 3"):
        Turns().take({"short": short}, 1)


def test_programs_take_turns_and_find_an_empty_folder(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    programs = {
        name: Program(
            argv=("sh", "-c", f"test -d {out} && ls {out} | wc -l >> {log}; echo {name} >> {log}; mkdir -p {out}/x"),
            output=out,
            into_empty=name == "tar",
        )
        for name in ("tar", "shard")
    }
    Turns().take(programs, 2)
    assert log.read_text().split() == ["0", "tar", "shard", "0", "tar", "shard"]
    assert not out.exists()


def test_ratios_are_of_medians_and_their_spread_is_that_of_the_turns():
    turns = Turns(used={"a": [usage(one) for one in (1, 2, 9)], "b": [usage(one) for one in (4, 4, 6)]})
    assert turns.ratio("a", "b") == {"median": 0.5, "min": 0.25, "max": 1.5}


def test_a_row_has_speed_and_cores():
    program = Program(argv=(), output=Path("x"), num_bytes=10_000_000, views=20)
    turns = Turns(programs={"a": program}, used={"a": [usage(1, 2), usage(4, 4), usage(2, 3)]})
    row = turns.row("a")
    assert (row["wall_s"], row["wall_s_min"], row["wall_s_max"]) == (2, 1, 4)
    assert (row["mb_per_s"], row["samples_per_s"], row["cores"]) == (5, 10, 1.5)


def test_the_slope_is_exact_on_a_line_and_outliers_do_not_move_it():
    line = [(0.1 * at, 300 + 5 * 0.1 * at) for at in range(60)]
    assert fit_slope(line) == pytest.approx(5)
    line[50] = line[55] = (5.0, 2000.0)
    assert fit_slope(line) == pytest.approx(5, abs=0.2)


def test_memory_is_taken_while_the_archive_is_read_and_after_its_first_gigabyte():
    size = 9 * 10**9
    samples = [TreeSample(progress=at * 10**7, memory_bytes=(100 + at // 100) << 20) for at in range(900)]
    ended = [TreeSample(progress=size, memory_bytes=9000 << 20)] * 500
    points = memory_by_gigabyte(samples + ended, size, 1.0)
    assert points[0][0] >= 1.0
    assert max(mib for _, mib in points) <= 108
    assert fit_slope([(gb, mib) for gb, mib in points]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("images_only_over_tar_xzf", 0.7, True),
        ("images_only_over_tar_xzf", 0.71, False),
        ("workers2_over_1", 1.7, True),
        ("workers2_over_1", 1.69, False),
        ("peak_rss_mib", 2048.0, False),
        ("rss_slope_mib_per_gb", -1.0, True),
        ("rss_slope_mib_per_gb", None, None),
    ],
)
def test_figures_are_held_against_their_bounds(name, value, expected):
    assert holds(name, value) is expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--repeats", "0"), "repeats: expected 1 or more"),
        (("--gigabytes", "0"), "gigabytes: expected more than 0"),
        (("--slope-gigabytes", "1"), "settled_gigabytes: expected fewer than slope_gigabytes"),
        (("--parts", "nothing"), "--parts: expected one of archive, folder, slope, found 'nothing'"),
    ],
)
def test_what_cannot_be_measured_is_refused(argv, message, tmp_path):
    done = call(*argv, scratch=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_scratch_folder_that_is_not_there_is_refused(tmp_path):
    done = call(scratch=tmp_path / "none")
    assert done.returncode == 2
    assert "expected a folder to write into" in done.stderr


def test_help_has_examples(tmp_path):
    done = call("--help", scratch=tmp_path)
    assert done.returncode == 0
    assert "python scripts/bench_shard.py --json" in done.stdout
