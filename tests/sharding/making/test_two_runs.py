"""Two real commands that make one set in a real store, at the same time or one after the other's death."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import obstore
import pytest
from obstore.store import from_url

from sharding.checking.verify import VerifyConfig, run
from sharding.errors import DataError
from sharding.machine.lease import LEASE_NAME
from sharding.making.remote_target import RemoteTarget
from sharding.making.target import _open_remote
from tests.servers import localbucket, nanio, s3_variables
from tests.sharding.shard_runs import environment, make, make_whole

SET = "s3://bucket/set"


@pytest.fixture(params=[localbucket, nanio], ids=["conditions", "no-conditions"])
def store(request, tmp_path, monkeypatch):
    """A client of a bucket whose server honours If-None-Match, or does not."""
    _open_remote.cache_clear()
    (tmp_path / "s3/bucket").mkdir(parents=True)
    with request.param(tmp_path / "s3") as server:
        for name, value in s3_variables(f"http://127.0.0.1:{server.port}").items():
            monkeypatch.setenv(name, value)
        yield from_url(SET, client_options={"allow_http": True}, disable_bulk_delete=True)
    _open_remote.cache_clear()


@contextlib.contextmanager
def begun(source, *options):
    command = [sys.executable, "-m", "sharding", "shard", "diode", str(source), SET, "--split", "train"]
    command += ["--shard-size", "4000", *options]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process):
    said = process.communicate(timeout=60)[1]
    assert "Traceback" not in said
    return process.returncode, said


def exists(store, name):
    with contextlib.suppress(FileNotFoundError):
        obstore.head(store, name)
        return True
    return False


def wait_for(store, name, process):
    deadline = time.monotonic() + 60
    while not exists(store, name):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stored(store):
    return {one["path"]: bytes(obstore.get(store, one["path"]).bytes()) for page in obstore.list(store) for one in page}


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_the_second_of_two_runs_is_told_who_makes_the_set_and_the_first_is_not_disturbed(
    diode_source, tmp_path, store, workers
):
    whole = make_whole(diode_source, tmp_path / "whole")
    with begun(diode_source, "--workers", workers) as first:
        wait_for(store, LEASE_NAME, first)
        wait_for(store, "shards/diode-train-000000.tar.zst", first)
        os.kill(first.pid, signal.SIGSTOP)  # it would be done before the second has started, on a busy machine
        with begun(diode_source, "--workers", "1", "--preset", "compact") as second:
            status, said = ended(second)
        os.kill(first.pid, signal.SIGCONT)
        assert status == 2
        assert f"{SET}: another run is making this set; wait until it ends, or end it (process {first.pid} on " in said
        assert ended(first)[0] == 0
    assert stored(store) == whole
    assert run(VerifyConfig(set=SET)).ok


@pytest.mark.slow
def test_the_lease_of_a_killed_run_of_this_machine_is_taken_over_at_once(diode_source, tmp_path, store):
    whole = make_whole(diode_source, tmp_path / "whole")
    with begun(diode_source, "--workers", "2") as first:
        wait_for(store, "shards/diode-train-000001.tar.zst", first)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert exists(store, LEASE_NAME)
    with begun(diode_source, "--workers", "2") as second:
        status, said = ended(second)
    assert status == 0, said
    assert f"takes over from process {first.pid} on " in said
    assert stored(store) == whole


@pytest.mark.slow
def test_a_run_whose_lease_was_lost_while_it_was_stopped_changes_nothing_more(diode_source, tmp_path, store):
    whole = make_whole(diode_source, tmp_path / "whole")
    with begun(diode_source, "--workers", "1", "--preset", "compact") as first:
        wait_for(store, ".making/diode-train-000000.json", first)
        os.kill(first.pid, signal.SIGSTOP)
        for name in stored(store):  # as if it had been stopped for long, and the place were cleared
            obstore.delete(store, name)
        make(diode_source, SET)
        os.kill(first.pid, signal.SIGCONT)
        status, said = ended(first)
    assert status == 1
    assert "the set was taken over while it was made here" in said
    found = {name: data for name, data in stored(store).items() if not name.startswith(".making/")}
    if found == whole:
        return
    # The one request that was on its way when it was stopped: no check before it can hold it back.
    assert {name for name in found if found[name] != whole[name]} == {"shards/diode-train-000001.tar.zst"}
    assert not run(VerifyConfig(set=SET)).ok


def test_a_shard_that_was_replaced_meanwhile_is_noticed_before_the_manifest(diode_source, store, monkeypatch):
    target = RemoteTarget(SET)
    check = RemoteTarget.check_held

    def replace_first(self, shards):
        target.write("shards/diode-train-000002.tar.zst", b"of another run")
        check(self, shards)

    monkeypatch.setattr(RemoteTarget, "check_held", replace_first)
    with pytest.raises(DataError, match=r"shards/diode-train-000002\.tar\.zst: was replaced while the set was made"):
        make(diode_source, SET)
    assert not exists(store, "manifest.json")
    assert not exists(store, LEASE_NAME)
    monkeypatch.undo()


def test_a_manifest_that_another_run_wrote_is_not_overwritten(tmp_path, monkeypatch):
    _open_remote.cache_clear()
    (tmp_path / "s3/bucket").mkdir(parents=True)
    with localbucket(tmp_path / "s3") as server:
        for name, value in s3_variables(f"http://127.0.0.1:{server.port}").items():
            monkeypatch.setenv(name, value)
        target = RemoteTarget(SET)
        target.write_last("manifest.json", b"first")
        target.write_last("manifest.json", b"first")  # as an attempt does whose first answer was lost
        with pytest.raises(DataError, match=r"manifest\.json: another run has written it"):
            target.write_last("manifest.json", b"second")
        assert target.read("manifest.json") == b"first"


@pytest.mark.slow
def test_the_temporary_folders_of_killed_processes_are_removed_by_the_next_run(diode_source, tmp_path, store):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        with begun(diode_source, "--workers", "2") as first:
            wait_for(store, "shards/diode-train-000001.tar.zst", first)
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
        assert len(list(temporary.iterdir())) >= 2  # of the command and of its workers
        with begun(diode_source, "--workers", "2") as second:
            assert ended(second)[0] == 0
    assert list(temporary.iterdir()) == []
