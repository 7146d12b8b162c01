import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.errors import UsageError
from training.claim import check_claim, claimed, has_run

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from training.claim import claimed
with claimed(sys.argv[1], resume=True):
    print("held", flush=True)
    time.sleep(600)
"""


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def started(tmp_path):
    """What a start that reached no checkpoint leaves."""
    run = tmp_path / "run"
    for name in ("tensorboard/version_0", "lightly", "checkpoints"):
        (run / name).mkdir(parents=True)
    for name in (
        "config.yaml",
        ".config.yaml.7.tmp",
        "tensorboard/events",
        "lightly/train.log",
        "checkpoints/.last.ckpt.7.tmp",
    ):
        (run / name).write_text("x")
    return run


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_without_a_checkpoint_is_begun_again(started, resume):
    before = files(started)
    check_claim(started, resume)
    assert files(started) == before  # a check changes nothing
    with claimed(started, resume) as folder:
        # Nothing is lost: options may have been written by hand.
        assert files(folder) == sorted({*before, "config-before.yaml"} - {"config.yaml"})


def test_a_run_with_a_checkpoint_is_resumed_and_never_begun_again(started):
    (started / "checkpoints" / "last.ckpt").write_text("learned")
    before = files(started)
    with pytest.raises(UsageError, match="give --resume to continue its run"):
        check_claim(started, resume=False)
    with pytest.raises(UsageError, match="give --resume"), claimed(started, resume=False):
        pass
    with claimed(started, resume=True):
        assert files(started) == before


@pytest.mark.parametrize(
    "name", ["encoder.pt", "metrics.json", "curves.csv", "checkpoints/damaged.ckpt", "checkpoints/a.pt"]
)
def test_what_was_learned_is_a_checkpoint(started, name):
    assert not has_run(started)
    (started / name).write_text("learned")
    assert has_run(started)


@pytest.mark.parametrize("resume", [False, True])
def test_files_of_others_are_never_removed(started, resume):
    (started / "thesis.tex").write_text("x")
    before = files(started)
    if not resume:
        with pytest.raises(UsageError, match=r"thesis\.tex is not of a run"):
            check_claim(started, resume)
        return
    with claimed(started, resume):
        assert "thesis.tex" in files(started)
        assert len(files(started)) == len(before)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder, found a file at"):
        check_claim(tmp_path / "file" / "run", resume=True)


def hold(run):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_two_processes_do_not_train_the_same_run_and_a_killed_one_leaves_no_lock(tmp_path):
    other = hold(tmp_path / "run")
    try:
        with pytest.raises(UsageError, match="another process trains this run"), claimed(tmp_path / "run", resume=True):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with claimed(tmp_path / "run", resume=True):
        pass


def test_a_worker_that_outlives_its_trainer_does_not_hold_the_run(tmp_path):
    read, write = os.pipe()
    with claimed(tmp_path / "run", resume=True):
        if (worker := os.fork()) == 0:
            os.read(read, 1)
            os._exit(0)
    try:
        with claimed(tmp_path / "run", resume=True):
            pass
    finally:
        os.write(write, b"x")
        os.waitpid(worker, 0)
        os.close(read)
        os.close(write)


def test_another_rank_neither_locks_nor_changes_anything(started, monkeypatch):
    with claimed(started, resume=True):
        (started / "config.yaml").write_text("x")
        before = files(started)
        monkeypatch.setenv("RANK", "1")
        with claimed(started, resume=False) as folder:
            assert files(folder) == before


def test_without_locks_a_lease_keeps_other_runs_out_and_that_is_said(tmp_path, monkeypatch, capsys):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with claimed(tmp_path / "run", resume=False) as folder:
        assert files(folder) == [".lease"]
        assert "this file system has no locks; a lease file keeps other runs out" in capsys.readouterr().err
        with pytest.raises(UsageError, match="another process trains this run"), claimed(folder, resume=True):
            pass
    assert files(folder) == []


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "lightly/train.log", "lightly/a/b", "lightly-cache"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_run_folder_with_a_link_that_would_be_written_through_is_refused(tmp_path, name, resume):
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path)
    with pytest.raises(UsageError, match=rf"run/{name}: expected a file or a folder, found a link, and a run"):
        check_claim(tmp_path / "run", resume)


def test_other_links_of_a_run_are_in_nobodys_way(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("notes", "metrics.json"):
        (tmp_path / "run" / name).symlink_to(tmp_path)
    check_claim(tmp_path / "run", resume=True)


def test_a_run_folder_may_be_a_link_itself(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    check_claim(tmp_path / "run", resume=False)
