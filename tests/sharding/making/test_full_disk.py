import errno
import os
import shutil
import subprocess
import sys

import pytest

from sharding.errors import DataError
from tests.sharding.shard_runs import SHARDS, content, environment, make, make_until, make_whole, views


@pytest.fixture
def whole(diode_source, tmp_path):
    return make_whole(diode_source, tmp_path / "whole")


def no_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_any_step_is_said_and_the_set_resumed(diode_source, whole, tmp_path):
    for step in range(1, 1 + 2 * SHARDS + 2 + 1):
        target = tmp_path / f"set{step}"
        with pytest.raises(DataError, match="No space left on device; finished shards are kept: make room"):
            make_until(step, diode_source, target, no_space)
        assert not list(target.rglob("*.tmp"))
        make(diode_source, target)
        assert content(target) == whole


def test_a_full_disk_in_a_worker_process_is_said_as_well(diode_source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.making.from_folder.make_shard", raise_no_space)
    with pytest.raises(DataError, match="No space left on device"):
        make(diode_source, tmp_path / "set", workers=2)


def raise_no_space(job):
    no_space()


SMALL_DISK = """
mount -t tmpfs -o size=600k tmpfs "$1" || exit 77
shift; set="$1"; shift
"$@"; echo "first $?"
mount -o remount,size=100m "$set/.."
"$@"; echo "second $?"
cp -r "$set" "$set/../../out"
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_is_really_full_is_said_and_the_set_resumed(tmp_path, workers):
    views(tmp_path / "diode", 12, (96, 128))
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "sharding", "shard", "diode", "diode", "disk/set", "--split", "train"]
    command += ["--shard-size", "150KB", "--workers", str(workers)]
    script = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", "disk", "disk/set", *command]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    done = subprocess.run(
        script, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"mounting is not allowed here: {done.stderr}")
    assert "first 1\n" in done.stdout, done.stderr
    assert "second 0\n" in done.stdout, done.stderr
    assert "No space left on device; finished shards are kept: make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert "of them are finished" in done.stderr
    make(tmp_path / "diode", tmp_path / "plain", shard_size=150_000)
    assert content(tmp_path / "out") == content(tmp_path / "plain")
