import hashlib
import subprocess
import sys
from pathlib import Path

import end_early
import pytest
from early_ends import disturbed_run
from early_ends.disturbed_run import DisturbedRun, do_nothing, press_ctrl_c, shard_command
from end_early import FAULTS, EarlyEnds, EndEarlyConfig, Kind, Source

ROOT = Path(__file__).parents[2]
NO_FAULT = dict.fromkeys(FAULTS, 0)


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """Early ends of a shell script that a test chooses; the set should be a manifest with the word "whole"."""
    whole = {"manifest.json": hashlib.sha256(b"whole").hexdigest()}
    source = Source(path=tmp_path, whole=whole, num_bytes=5, seconds=0.05)
    ends = EarlyEnds(EndEarlyConfig(count=2), tmp_path, [source])

    def choose(script):
        monkeypatch.setattr(
            end_early, "shard_command", lambda source, target, workers: ["sh", "-c", script, str(source), str(target)]
        )
        return ends

    ends.choose = choose
    return ends


@pytest.mark.slow
def test_what_is_wrong_with_a_run_is_counted_and_said(ends, monkeypatch):
    kind = Kind(end=do_nothing, statuses=(3,))
    assert ends.choose("exit 3").of_kind("fine", kind) == {"ended": 2, "complete": 0} | NO_FAULT
    made = ends.choose('mkdir "$1"; printf whole > "$1/manifest.json"').of_kind("made", kind)
    assert made == {"ended": 0, "complete": 2} | NO_FAULT
    assert ends.faults == []
    assert ends.choose("exit 4").of_kind("other status", kind)["wrong_status"] == 2
    assert ends.choose("sleep 30 & exit 3").of_kind("orphans", kind)["left"] == 2
    assert ends.choose('mkdir "$1"; echo part > "$1/manifest.json"').of_kind("no set", kind)["differing"] == 2
    assert ends.choose("exit 0").of_kind("nothing", kind)["differing"] == 2
    monkeypatch.setattr(disturbed_run, "LIMIT_S", 0.3)
    assert ends.choose("trap '' INT; while :; do sleep 0.1; done").of_kind(
        "deaf", Kind(end=press_ctrl_c, statuses=(130,))
    )["hangs"] == 2  # fmt: skip
    assert len(ends.faults) == 10
    assert ends.faults[0].startswith("wrong_status: other status after 0.")
    resumed = Kind(end=do_nothing, statuses=(3,), resumed=True)
    assert ends.choose("exit 3").of_kind("never finished", resumed)["differing"] == 2


def test_a_run_is_killed_with_all_its_processes(tmp_path):
    run = DisturbedRun(["sh", "-c", "sleep 60 & sleep 60 & wait"], tmp_path / "log")
    while len(run.left(0)) < 3:
        pass
    run.clear()
    assert run.left(5) == []


def test_the_command_is_that_of_a_user():
    command = shard_command(Path("w"), Path("set"), 2)
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_no_early_end_has_a_fault():
    command = [sys.executable, "scripts/end_early.py", "--count", "5", "--images", "30", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
