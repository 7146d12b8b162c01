"""The program reads epochs in processes of their own, and tells rates, memory and what misses a bound."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench_workers import format_figures, summarize
from repeated_set import make_views

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_workers.py"


def turn(rate, memory):
    return {"first_batch_s": 1.5, "samples_s": [1.0, rate, rate + 2], "worker_mb": memory}


FOUND = {
    (0, 16): [turn(10, None), turn(20, None)],
    (2, 16): [turn(30, [100.0, 101.0, 102.0]), turn(40, [100.0, 103.0, 104.0])],
    (2, 32): [turn(50, [110.0, 112.0, 115.0]), turn(60, [110.0, 112.0, 119.0])],
}


def test_the_first_epoch_warms_up_and_memory_is_compared_at_the_last():
    data = summarize(FOUND)
    assert data["cases"][0]["samples_s"] == {"median": 16.0, "least": 10, "most": 22}
    assert data["cases"][0]["worker_mb"] is None
    assert data["cases"][1]["worker_mb"] == [100.0, 102.0, 103.0]
    assert data["worker_private_mb"] == 103.0
    assert data["worker_mb_batch32_over_16"] == round(117 / 103, 3)
    assert data["worker_mb_last_epoch_over_first"] == round(117 / 110, 3)
    assert data["missed"] == ["worker_mb_batch32_over_16", "worker_mb_last_epoch_over_first"]


def test_the_table_has_a_line_for_each_case():
    lines = format_figures(summarize(FOUND)).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["0", "16"], ["2", "16"], ["2", "32"]]
    assert lines[2].endswith("100, 102, 103")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
def test_the_program_reads_a_set(tmp_path):
    make_views(tmp_path / "set")
    words = ["--set", tmp_path / "set", "--height", "64", "--epochs", "2", "--turns", "1", "--json"]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [(one["num_workers"], one["batch_size"]) for one in data["cases"]] == [
        (0, 16),
        (1, 16),
        (2, 16),
        (4, 16),
        (2, 32),
    ]
    for one in data["cases"]:
        assert one["samples_s"]["least"] > 0
        assert (one["worker_mb"] is None) == (one["num_workers"] == 0)
        assert all(value > 10 for value in one["worker_mb"] or [])
