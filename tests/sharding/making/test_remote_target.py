"""Sets that are written to a real S3 server are the sets that are written to a folder, also after kills."""

import os
import signal
import subprocess
import sys
import tarfile
from multiprocessing import forkserver

import pytest

from sharding.checking.verify import VerifyConfig, run
from sharding.config import ShardMegadepthConfig
from sharding.errors import DataError, UsageError
from sharding.making.create import shard_megadepth
from sharding.making.ledger import Ledger
from sharding.making.remote_target import RemoteTarget
from sharding.making.target import _open_remote
from sharding.reading.shard_set import ShardSet
from tests.servers import link, localbucket, s3_variables
from tests.sharding.shard_runs import SHARDS, content, environment, make, make_whole


@pytest.fixture(autouse=True)
def _new_clients():
    """The same address leads to another server in each test, also for worker processes."""
    _open_remote.cache_clear()
    forkserver._forkserver._stop()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder behind an S3 bucket, and a link to its server that counts."""
    (tmp_path / "s3/bucket").mkdir(parents=True)
    with localbucket(tmp_path / "s3") as server, link(server.port) as counted:
        for name, value in s3_variables(counted.url).items():
            monkeypatch.setenv(name, value)
        counted.server = server
        counted.folder = tmp_path / "s3/bucket"
        yield counted


def stored(bucket, prefix="set"):
    """Objects below a prefix, by name; what the server keeps for itself is hidden."""
    return {
        name: data
        for name, data in content(bucket.folder / prefix).items()
        if not name.rpartition("/")[2].startswith(".")
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_a_set_in_a_store_is_the_set_in_a_folder(diode_source, bucket, tmp_path, workers):
    whole = make_whole(diode_source, tmp_path / "whole")
    outcome = make(diode_source, "s3://bucket/set", workers=workers)
    assert outcome.data["samples"] == 9
    assert stored(bucket) == whole
    assert run(VerifyConfig(set="s3://bucket/set")).ok


def test_a_rerun_has_nothing_to_do_and_another_source_is_refused(diode_source, bucket, tmp_path, capsys):
    make(diode_source, "s3://bucket/set")
    before = stored(bucket)
    make(diode_source, "s3://bucket/set")
    assert "nothing to do" in capsys.readouterr().err
    with pytest.raises(UsageError, match="s3://bucket/set holds another set: preset is 'exact' there, 'compact' now"):
        make(diode_source, "s3://bucket/set", preset="compact")
    assert stored(bucket) == before


def test_a_finished_set_takes_no_right_to_write(diode_source, bucket, monkeypatch, capsys):
    made = make(diode_source, "s3://bucket/set").data

    def refuse(*_, **__):
        raise PermissionError("403")

    for name in ("put", "delete"):
        monkeypatch.setattr(f"obstore.{name}", refuse)
    assert make(diode_source, "s3://bucket/set").data == made
    assert "nothing to do" in capsys.readouterr().err


def test_what_a_killed_run_left_beside_a_finished_set_is_removed(diode_source, bucket):
    make(diode_source, "s3://bucket/set")
    before = stored(bucket)
    left = bucket.folder / "set/.making/waiting/000000.bin"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    make(diode_source, "s3://bucket/set")
    assert not left.exists()
    assert stored(bucket) == before


def test_a_run_that_fails_midway_is_finished_and_keeps_its_shards(diode_source, bucket, tmp_path, monkeypatch):
    whole = make_whole(diode_source, tmp_path / "whole")
    write = RemoteTarget.write

    def fail_at_third_line(self, name, data):
        if name.endswith("-000002.json"):
            raise KeyboardInterrupt
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteTarget, "write", fail_at_third_line)
        with pytest.raises(KeyboardInterrupt):
            make(diode_source, "s3://bucket/set")
    half = stored(bucket)
    assert "manifest.json" not in half
    assert len([name for name in half if name.startswith("shards/")]) == 3
    sent = []
    send = RemoteTarget._send
    monkeypatch.setattr(RemoteTarget, "_send", lambda self, name, path: (sent.append(name), send(self, name, path)))
    make(diode_source, "s3://bucket/set")
    assert stored(bucket) == whole
    assert sorted(sent) == [f"shards/diode-train-{number:06d}.tar.zst" for number in range(2, SHARDS)]


@pytest.mark.slow
def test_a_shard_that_was_replaced_in_the_store_is_made_again(diode_source, bucket, tmp_path, monkeypatch):
    whole = make_whole(diode_source, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("sharding.making.from_folder.finish", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(diode_source, "s3://bucket/set")
    target = RemoteTarget("s3://bucket/set")
    name = "shards/diode-train-000001.tar.zst"
    size = len(target.read(name))
    target.write(name, bytes(size))
    make(diode_source, "s3://bucket/set")
    assert stored(bucket) == whole


@pytest.fixture
def far_apart(megadepth_source, tmp_path):
    """An archive in which all images come before all depth maps."""
    names = sorted(path.relative_to(megadepth_source) for path in megadepth_source.rglob("*") if path.is_file())
    names.sort(key=lambda name: name.suffix == ".h5")
    with tarfile.open(tmp_path / "MegaDepth_v1.tar.gz", "w:gz") as tar:
        for name in names:
            tar.add(megadepth_source / name, name)
    return str(tmp_path / "MegaDepth_v1.tar.gz")


@pytest.mark.slow
def test_files_that_wait_are_in_the_store_for_a_run_on_another_machine(far_apart, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.sources.arrivals.HELD_BYTES", 100)
    options = {"source": far_apart, "with_depth": True, "workers": 1, "shard_size": 1500}
    shard_megadepth(ShardMegadepthConfig(set=str(tmp_path / "whole"), **options))
    written = []

    def interrupt_after_two(self, position):
        written.append(position)
        self._target.write(".making/resume_point.json", position.encode())
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sharding.making.ledger.Ledger.write_resume_point", interrupt_after_two)
        with pytest.raises(KeyboardInterrupt):
            shard_megadepth(ShardMegadepthConfig(set="s3://bucket/set", **options))
    waiting = [name for name in stored(bucket) if "/waiting/" in name or name.startswith(".making/waiting")]
    assert waiting
    kept = {name.rpartition("/")[2] for name in waiting}
    assert written[-1].segments <= kept <= written[-1].segments | written[-2].segments
    _open_remote.cache_clear()  # another process would have no scratch folder either
    shard_megadepth(ShardMegadepthConfig(set="s3://bucket/set", **options))
    assert stored(bucket) == content(tmp_path / "whole")


@pytest.mark.parametrize("saved", [1, 2, 3])
def test_a_run_killed_before_its_next_point_is_saved_has_the_files_of_the_last(far_apart, bucket, monkeypatch, saved):
    monkeypatch.setattr("sharding.sources.arrivals.HELD_BYTES", 100)
    monkeypatch.setattr("sharding.sources.spool.SEGMENT_BYTES", 1)  # a file each, so that some are soon unneeded
    points, write = [], Ledger.write_resume_point

    def interrupt(self, point):
        if len(points) == saved:
            raise KeyboardInterrupt
        points.append(point)
        write(self, point)

    monkeypatch.setattr(Ledger, "write_resume_point", interrupt)
    with pytest.raises(KeyboardInterrupt):
        shard_megadepth(
            ShardMegadepthConfig(source=far_apart, set="s3://bucket/set", with_depth=True, workers=1, shard_size=1500)
        )
    assert points[-1].segments
    waiting = {name.rpartition("/")[2] for name in stored(bucket) if "/waiting/" in name}
    assert points[-1].segments <= waiting
    # Of earlier points only the one before the last may still have files there, besides those sent for the next.
    assert not waiting & set().union(*(point.segments for point in points[:-2])) - points[-1].segments


def test_a_waiting_file_whose_name_is_used_again_is_sent_again(bucket):
    target = RemoteTarget("s3://bucket/set")
    folder = target.restore_spool(())
    for content_now in (b"first", b"other"):  # of one size
        (folder / "000000.bin").write_bytes(content_now)
        target.save_spool({"000000.bin"})
        assert stored(bucket)[".making/waiting/000000.bin"] == content_now
        target.save_spool(())
        assert ".making/waiting/000000.bin" in stored(bucket)  # the point that is saved may need it
    target.save_spool(())
    assert ".making/waiting/000000.bin" not in stored(bucket)


def test_waiting_files_that_no_point_names_go_with_the_next_save(bucket):
    target = RemoteTarget("s3://bucket/set")
    for number in range(3):
        target.write(f".making/waiting/{number:06d}.bin", b"left")
    folder = target.restore_spool({"000001.bin"})
    assert (folder / "000001.bin").read_bytes() == b"left"
    target.save_spool({"000001.bin"})
    assert list(stored(bucket)) == [".making/waiting/000001.bin"]


@pytest.mark.slow
def test_a_killed_command_is_finished_by_the_next(diode_source, bucket, tmp_path):
    whole = make_whole(diode_source, tmp_path / "whole")
    command = [sys.executable, "-m", "sharding", "shard", "diode", str(diode_source), "s3://bucket/set"]
    command += ["--split", "train", "--shard-size", "4000", "--workers", "1"]
    first = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, start_new_session=True)
    while not (bucket.folder / "set/.making/diode-train-000001.json").exists():
        assert first.poll() is None, first.stderr.read()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert stored(bucket) == whole


def test_a_large_shard_is_sent_in_parts(bucket, monkeypatch):
    monkeypatch.setattr("sharding.making.remote_target.PART_BYTES", 5 << 20)
    target = RemoteTarget("s3://bucket/set")
    data = os.urandom(12 << 20)
    before = bucket.counts["requests"]
    with target.create("shards/x") as file:
        file.write(data)
    assert bucket.counts["requests"] - before >= 1 + 3 + 1  # begun, three parts, completed
    assert target.read("shards/x") == data
    assert target.is_whole("shards/x", len(data), "", target.tag("shards/x"))
    assert not target.is_whole("shards/x", len(data) - 1, "", target.tag("shards/x"))
    assert not target.is_whole("shards/x", len(data), "", "")


def test_a_file_that_is_given_up_is_not_there(bucket):
    target = RemoteTarget("s3://bucket/set")
    with pytest.raises(KeyboardInterrupt), target.create("shards/x") as file:  # noqa: PT012
        file.write(b"half")
        raise KeyboardInterrupt
    assert target.read("shards/x") is None
    assert target.names("shards") == []


def test_names_are_of_files_right_below(bucket):
    target = RemoteTarget("s3://bucket/set")
    for name in ("a/1.json", "a/2.json", "a/b/3.json", "ab/4.json", "5.json"):
        target.write(name, b"{}")
    assert target.names("a") == ["1.json", "2.json"]
    assert target.names("nothing") == []
    target.clean("a")
    assert (target.read("a/b/3.json"), target.read("ab/4.json")) == (None, b"{}")
    target.remove("never/there")


@pytest.mark.slow
def test_faults_on_the_way_are_survived(diode_source, tmp_path, monkeypatch):
    whole = make_whole(diode_source, tmp_path / "whole")
    (tmp_path / "s3/bucket").mkdir(parents=True)
    with (
        localbucket(tmp_path / "s3") as server,
        link(server.port, "--fault-rate", 0.2, "--faults", "500,reset,truncate") as bad,
    ):
        for name, value in s3_variables(bad.url).items():
            monkeypatch.setenv(name, value)
        make(diode_source, "s3://bucket/set")
        assert bad.counts["faults"]
    written = content(tmp_path / "s3/bucket/set")
    assert {name: written[name] for name in whole} == whole


def test_the_manifest_is_written_last(diode_source, bucket, monkeypatch):
    done = []
    for name in ("write", "write_last", "_send"):
        original = getattr(RemoteTarget, name)

        def record(self, name, *rest, original=original, **options):
            original(self, name, *rest, **options)
            done.append(name)

        monkeypatch.setattr(RemoteTarget, name, record)
    make(diode_source, "s3://bucket/set")
    assert done[-2:] == ["index.parquet", "manifest.json"]
    assert len([name for name in done if name.startswith("shards/")]) == SHARDS


def test_a_web_server_and_a_missing_bucket_are_errors_that_say_what_to_do(diode_source, bucket):
    with pytest.raises(UsageError, match="a web server takes no files"):
        make(diode_source, "http://127.0.0.1:1/set")
    with pytest.raises(DataError, match="s3://nobody/set"):
        make(diode_source, "s3://nobody/set")


def test_the_set_is_read_where_it_was_written(diode_source, bucket):
    make(diode_source, "s3://bucket/deep/er/set")
    opened = ShardSet("s3://bucket/deep/er/set")
    assert len(opened) == 9
    assert opened[3].depth is not None
