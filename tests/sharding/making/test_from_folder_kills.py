"""The installed command, really killed while it makes a set, and run again."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.sharding.shard_runs import content, environment, views

LIMIT = 90
SHARDS = 10


class Run:
    """`depthstream shard diode` in a process group of its own, whose processes can all be found."""

    def __init__(self, source, target, workers):
        self.mark = f"RUN_MARK={uuid.uuid4()}"
        name, value = self.mark.split("=")
        command = [sys.executable, "-m", "sharding", "shard", "diode", str(source), str(target)]
        self.process = subprocess.Popen(
            [*command, "--split", "train", "--shard-size", "2500KB", "--workers", str(workers)],
            env=environment() | {name: value, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def end(self):
        """Exit status and stderr."""
        _, said = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, said

    def pids(self):
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def workers(self):
        """Processes that encode: children of the command."""
        parents = {pid: parent_of(pid) for pid in self.pids()}
        return [pid for pid, parent in parents.items() if parent == self.process.pid]

    def nobody_is_left(self):
        deadline = time.monotonic() + 15
        while self.pids():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def count_lines(target):
    try:
        return sum(name.startswith("diode") and name.endswith(".json") for name in os.listdir(target / ".making"))
    except FileNotFoundError:  # not begun, or done
        return 0


def wait_for_lines(target, count, run):
    deadline = time.monotonic() + LIMIT
    while count_lines(target) < count:
        assert run.process.poll() is None, run.process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A source, and the set of a run that nobody disturbed."""
    root = tmp_path_factory.mktemp("kills")
    views(root / "diode", 20, (320, 512))
    with Run(root / "diode", root / "whole", 1) as run:
        status, said = run.end()
    assert status == 0, said
    whole = content(root / "whole")
    assert len(whole) == SHARDS + 2
    return root / "diode", whole


def finish(source, target, whole, workers=1):
    """Run again to the end: finished shards are the very files they were, and all bytes are right."""
    lines = {path.stem for path in target.glob(".making/diode*.json")}
    kept = {path: path.stat() for path in target.glob("shards/*.zst") if path.name.partition(".")[0] in lines}
    with Run(source, target, workers) as run:
        status, said = run.end()
        assert status == 0, said
        assert run.nobody_is_left()
    assert content(target) == whole
    for path, before in kept.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    if kept and "nothing to do" not in said:
        assert f"({len(kept)} of them are finished, {SHARDS - len(kept)} left)" in said


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "lines"), [pytest.param(1, 4, marks=pytest.mark.slow), (2, 5)])
def test_a_killed_run_leaves_nobody_and_is_finished_by_the_next(made, tmp_path, workers, lines):
    source, whole = made
    with Run(source, tmp_path / "set", workers) as run:
        wait_for_lines(tmp_path / "set", lines, run)
        os.kill(run.process.pid, signal.SIGKILL)
        assert run.nobody_is_left()
    assert not (tmp_path / "set/manifest.json").exists()
    finish(source, tmp_path / "set", whole, 3 - workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("whom", ["command", "everybody"])
def test_kills_at_random_moments_until_it_is_done(made, tmp_path, workers, whom):
    source, whole = made
    moments = random.Random(f"{workers} {whom}")
    for _ in range(5):
        with Run(source, tmp_path / "set", workers) as run:
            time.sleep(moments.uniform(0, 4))
            (os.kill if whom == "command" else os.killpg)(run.process.pid, signal.SIGKILL)
            assert run.nobody_is_left()
    finish(source, tmp_path / "set", whole)


@pytest.mark.parametrize(
    ("workers", "number", "expected"),
    [
        pytest.param(1, signal.SIGINT, 130, marks=pytest.mark.slow),
        (2, signal.SIGINT, 130),
        pytest.param(2, signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_it_at_once_with_nobody_left_and_the_next_run_finishes(made, tmp_path, workers, number, expected):
    source, whole = made
    with Run(source, tmp_path / "set", workers) as run:
        wait_for_lines(tmp_path / "set", 4, run)
        os.killpg(run.process.pid, number)
        status, said = run.end()
        assert run.pids() == []
        assert status == expected, said
        assert "interrupted; run it again" in said
        assert "Traceback" not in said
    finish(source, tmp_path / "set", whole)


@pytest.mark.slow
def test_ctrl_c_while_it_starts_ends_with_130_as_well(made, tmp_path):
    source, whole = made
    for tenths in range(3, 23, 4):
        target = tmp_path / str(tenths)
        with Run(source, target, 2) as run:
            time.sleep(tenths / 10)
            os.killpg(run.process.pid, signal.SIGINT)
            status, said = run.end()
            assert run.nobody_is_left()
        if status == 0:
            assert (target / "manifest.json").exists()
        else:  # the interpreter may kill itself by the signal it got while importing: 130 to a shell as well
            assert status in (130, -signal.SIGINT), said
            assert "Traceback" not in said or not target.exists(), said
    finish(source, target, whole)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_said_and_the_next_run_finishes(made, tmp_path):
    source, whole = made
    with Run(source, tmp_path / "set", 2) as run:
        wait_for_lines(tmp_path / "set", 3, run)
        os.kill(run.workers()[0], signal.SIGKILL)
        status, said = run.end()
        assert status == 1
        assert "a worker process was killed" in said
        assert "fewer --workers" in said
        assert "Traceback" not in said
        assert run.nobody_is_left()
    finish(source, tmp_path / "set", whole)


@pytest.mark.slow
def test_a_second_run_beside_the_first_is_refused(made, tmp_path):
    source, whole = made
    with Run(source, tmp_path / "set", 1) as first:
        wait_for_lines(tmp_path / "set", 1, first)
        os.kill(first.process.pid, signal.SIGSTOP)
        with Run(source, tmp_path / "set", 1) as second:
            status, said = second.end()
        assert status == 2
        assert "another run is making this set" in said
        os.kill(first.process.pid, signal.SIGCONT)
        assert first.end()[0] == 0
    assert content(tmp_path / "set") == whole
