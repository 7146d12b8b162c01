"""The installed command, really killed while it reads an archive, and run again."""

import os
import random
import signal
import time

import pytest

from tests.sharding.archives.test_url_source import serving
from tests.sharding.making.test_from_folder_kills import Run, wait_for_lines
from tests.sharding.shard_runs import content, views
from tests.sharding.toy_archives import files, pack, shuffled

SHARDS = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive, and the set of a run that nobody disturbed."""
    root = tmp_path_factory.mktemp("kills")
    views(root / "diode", 12, (320, 512))
    path = pack(root / "x.tar.gz", shuffled(files(root / "diode"), 1))
    with Run(path, root / "whole", 1) as run:
        status, said = run.end()
    assert status == 0, said
    whole = content(root / "whole")
    assert len(whole) > SHARDS
    return path, whole


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


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_run_leaves_nobody_and_is_finished_by_the_next(made, tmp_path, workers):
    source, whole = made
    with Run(source, tmp_path / "set", workers) as run:
        wait_for_lines(tmp_path / "set", 3, run)
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
            time.sleep(moments.uniform(0.5, 3))
            (os.kill if whom == "command" else os.killpg)(run.process.pid, signal.SIGKILL)
            assert run.nobody_is_left()
    finish(source, tmp_path / "set", whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_at_once_with_130_and_the_next_run_finishes(made, tmp_path, workers):
    source, whole = made
    with Run(source, tmp_path / "set", workers) as run:
        wait_for_lines(tmp_path / "set", 2, run)
        interrupt(run)
    finish(source, tmp_path / "set", whole)


def interrupt(run, limit=30):
    start = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    status, said = run.end()
    assert time.monotonic() - start < limit
    assert status == 130, said
    assert "interrupted; run it again" in said
    assert "Traceback" not in said
    assert run.nobody_is_left()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_download_that_stands_still(made, tmp_path, workers):
    source, _whole = made
    with serving(source.read_bytes()) as (url, does):
        does.drop_after, does.stall_s = len(does.data) // 2, 60.0
        with Run(url, tmp_path / "set", workers) as run:
            deadline = time.monotonic() + 60
            while does.sent < does.drop_after:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(1)
            interrupt(run, 10)
