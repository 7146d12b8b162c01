import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharding.errors import UsageError
from sharding.machine import lease
from sharding.machine.exclusive import exclusive
from sharding.machine.lease import LEASE_NAME, Lease

BUSY = "another run is here"


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that refuses locks, as some NFS and Lustre do."""

    def refuse(error):
        def flock(file, operation):
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr("fcntl.flock", flock)

    return refuse


def test_a_folder_is_held_once_and_free_afterwards(tmp_path):
    said = []
    with exclusive(tmp_path / "set", BUSY, said.append):
        with pytest.raises(UsageError, match=BUSY), exclusive(tmp_path / "set", BUSY, said.append):
            pass
        assert list((tmp_path / "set").iterdir()) == []
    with exclusive(tmp_path / "set", BUSY, said.append):
        pass
    assert said == []


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS])
def test_without_locks_a_lease_file_is_held_and_that_is_said(tmp_path, no_locks, error):
    no_locks(error)
    said = []
    with exclusive(tmp_path, BUSY, said.append):
        assert [path.name for path in tmp_path.iterdir()] == [LEASE_NAME]
        with pytest.raises(UsageError, match=rf"{BUSY} \(process {os.getpid()} on "), exclusive(tmp_path, BUSY, print):
            pass
    assert list(tmp_path.iterdir()) == []
    assert said == [f"{tmp_path}: this file system has no locks; a lease file keeps other runs out"]


def test_an_error_of_the_block_is_its_own(tmp_path):
    with pytest.raises(BlockingIOError), exclusive(tmp_path, BUSY, print):
        raise BlockingIOError
    with exclusive(tmp_path, BUSY, print):
        pass


def lease_of(folder, system, pid, age_s=0.0):
    file = folder / LEASE_NAME
    file.write_text(json.dumps({"host": "elsewhere", "system": system, "pid": pid, "token": "theirs"}))
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_the_lease_of_a_process_that_ended_here_is_taken_at_once(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lease_of(tmp_path, lease.system_name(), ended.pid)
    with Lease(tmp_path, print, touch_s=0.1).hold(BUSY):
        assert json.loads((tmp_path / LEASE_NAME).read_text())["pid"] == os.getpid()


def test_the_lease_of_another_machine_is_taken_once_it_is_stale(tmp_path):
    lease_of(tmp_path, "elsewhere", 1, age_s=50)
    with pytest.raises(UsageError, match=r"process 1 on elsewhere"), Lease(tmp_path, print).hold(BUSY):
        pass
    lease_of(tmp_path, "elsewhere", 1, age_s=70)
    with Lease(tmp_path, print, touch_s=0.1).hold(BUSY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lease_that_is_held_is_touched(tmp_path):
    with Lease(tmp_path, print, touch_s=0.05).hold(BUSY):
        os.utime(tmp_path / LEASE_NAME, (0, 0))
        deadline = time.monotonic() + 30
        while (tmp_path / LEASE_NAME).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_lease_that_another_took_over_is_left_to_it_and_that_is_said(tmp_path):
    said = []
    with Lease(tmp_path, said.append, touch_s=0.05).hold(BUSY):
        file = lease_of(tmp_path, "elsewhere", 1, age_s=30)
        deadline = time.monotonic() + 30
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert time.time() - file.stat().st_mtime > 20  # not touched for the other
    assert "another process has taken it over" in said[0]
    assert json.loads((tmp_path / LEASE_NAME).read_text())["host"] == "elsewhere"


@pytest.mark.parametrize("content", ["", "no json", "[]", "{}"])
def test_a_damaged_lease_ends_by_its_age(tmp_path, content):
    file = Path(tmp_path, LEASE_NAME)
    file.write_text(content)
    with pytest.raises(UsageError, match=BUSY), Lease(tmp_path, print).hold(BUSY):
        pass
    os.utime(file, (0, 0))
    with Lease(tmp_path, print, touch_s=0.1).hold(BUSY):
        pass
