import os
import signal
import subprocess
import sys

import pytest

from sharding.machine import scratch
from sharding.machine.scratch import Scratch, remove_abandoned
from tests.sharding.shard_runs import environment

HOLD = """
import sys
from sharding.machine.scratch import Scratch
held = Scratch()
(held.path / "waiting").mkdir()
(held.path / "waiting/000000.bin").write_bytes(b"of a user")
print(held.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def holder():
    return subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def name(number=0, host=None):
    return f"depthstream-{host or scratch._HOST}-{number:016x}"


def test_a_folder_of_a_killed_process_is_removed_by_the_next_one_of_a_living_process_is_not(place):
    with holder() as killed, holder() as living:
        left, used = killed.stdout.readline().strip(), living.stdout.readline().strip()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert {str(path) for path in place.iterdir()} == {left, used}
        mine = Scratch()
        assert {str(path) for path in place.iterdir()} == {used, str(mine.path)}
        assert mine.path.stat().st_mode & 0o777 == 0o700
        living.communicate()
    assert list(place.iterdir()) == [mine.path]
    del mine
    assert list(place.iterdir()) == []


def test_a_folder_may_be_in_another_place_hidden_and_closed(place):
    (place / "other").mkdir()
    left = place / "other" / f".{name()}"
    left.mkdir()
    mine = Scratch(place / "other")
    assert list((place / "other").iterdir()) == [mine.path]
    assert mine.path.name.startswith(".depthstream-")
    mine.close()
    mine.close()
    assert list((place / "other").iterdir()) == []


def test_nothing_is_removed_but_folders_of_exactly_such_a_name(place):
    (place / "elsewhere").mkdir()
    (place / "elsewhere/file").write_text("kept")
    (place / name(1)).symlink_to(place / "elsewhere")
    (place / name(2)).write_text("a file")
    os.mkfifo(place / name(3))
    for other in ("depthstream-abc", name(4) + "0", name(5)[:-1], name(6, "00000000"), "x" + name(7), name(8).upper()):
        (place / other).mkdir()
    before = sorted(path.name for path in place.iterdir())
    remove_abandoned()
    assert sorted(path.name for path in place.iterdir()) == before
    (place / name(9)).mkdir()
    (place / name(9) / "link").symlink_to(place / "elsewhere")
    remove_abandoned()
    assert sorted(path.name for path in place.iterdir()) == before
    assert (place / "elsewhere/file").read_text() == "kept"


def test_a_folder_of_another_user_is_left_alone(place, monkeypatch):
    (place / name()).mkdir()
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    remove_abandoned()
    assert (place / name()).exists()


def test_without_locks_no_folder_of_another_process_is_removed(place, monkeypatch):
    def refuse(file, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    (place / name()).mkdir()
    mine = Scratch()
    assert {path.name for path in place.iterdir()} == {name(), mine.path.name}
    del mine
    assert [path.name for path in place.iterdir()] == [name()]


def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_again(place, monkeypatch):
    taken, lock = [], scratch.try_lock

    def remove_first(descriptor, *, shared):
        if not taken:
            taken.extend(place.iterdir())
            taken[0].rmdir()
        return lock(descriptor, shared=shared)

    monkeypatch.setattr(scratch, "try_lock", remove_first)
    mine = Scratch()
    assert list(place.iterdir()) == [mine.path]
    assert mine.path != taken[0]


def test_a_forked_child_does_not_remove_it(place):
    mine = Scratch()
    child = os.fork()
    if child == 0:
        del mine
        os._exit(0)
    os.waitpid(child, 0)
    assert mine.path.exists()
