import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from sharding.reading.shard_set import ShardSet
from sharding.stores.node_cache import CacheSettings
from training.config import ProfileConfig
from training.profiling import cold_reads as cold
from training.profiling.cold_reads import drop, time_cold
from training.profiling.pagecache import drop_pages, resident_share
from training.profiling.profile import run
from training.profiling.requests import ranges_by_shard, requests_per_sample
from training.profiling.transfer import time_transfer

SMALL = {"height": 48, "width": 64}
MEMORY_ALONE, DROPPING = {"tmpfs", "ramfs"}, {"ext2/ext3", "xfs", "overlayfs"}


def kind_of(folder):
    return subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def on_disk(tmp_path):
    if kind_of(tmp_path) not in DROPPING:
        pytest.skip("the temporary folder is on a file system that may keep what it is told to drop")
    return tmp_path


@pytest.fixture
def served(diode_sets, tmp_path, range_server):
    """The URL of a set behind a web server."""
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    return f"http://127.0.0.1:{range_server.server_address[1]}/set"


def shard_requests(server):
    return [(path, asked) for path, asked in server.requests if "/shards/" in path and asked]


def test_what_was_written_is_in_memory_until_it_is_dropped(on_disk):
    file = on_disk / "file"
    file.write_bytes(os.urandom(100_000))
    assert resident_share(file) == 1
    drop_pages(file)
    assert resident_share(file) == 0
    with file.open("rb", buffering=0) as opened:
        opened.read(1)
    assert 0 < resident_share(file) <= 1


def test_an_empty_file_has_no_pages(tmp_path):
    (tmp_path / "empty").touch()
    drop_pages(tmp_path / "empty")
    assert resident_share(tmp_path / "empty") == 0


def test_a_file_that_is_memory_alone_stays():
    folder = "/dev/shm"
    if not os.path.isdir(folder) or kind_of(folder) not in MEMORY_ALONE:
        pytest.skip("there is no such file system")
    path = Path(folder, f"depthstream-{os.getpid()}")
    try:
        path.write_bytes(bytes(100_000))
        drop_pages(path)
        assert resident_share(path) == 1
    finally:
        path.unlink(missing_ok=True)


def test_the_shards_of_the_samples_are_dropped_and_no_others(diode_sets, on_disk, plan):
    shutil.copytree(diode_sets[0].url, on_disk / "set")
    work = plan(ShardSet(on_disk / "set"), 2)
    touched = set(ranges_by_shard(work, work.rows().tolist()))
    assert drop(work) == 0
    shares = {f"shards/{path.name}": resident_share(path) for path in (on_disk / "set/shards").iterdir()}
    assert {name for name, share in shares.items() if share == 0} == touched
    assert len(touched) < len(shares)


def test_cold_is_timed_on_the_same_samples_and_bytes(diode_sets, plan):
    work = plan(diode_sets[1], 5)
    timed = time_cold(work, 3)
    for timing in (timed.fetch, timed.chain):
        assert (timing.samples, timing.bytes) == (5, work.stored_bytes)
        assert len(timing.seconds) == len(timing.cpu_seconds) == 3


def test_every_cold_turn_begins_with_nothing_kept(diode_sets, monkeypatch, plan):
    seen = []
    monkeypatch.setattr(cold, "drop", lambda work: seen.append("drop") or 0.25)
    monkeypatch.setattr(cold, "time_once", lambda turn: seen.append("turn") or (1.0, 0.5))
    timed = time_cold(plan(diode_sets[1], 2), 2)
    assert seen == ["drop", "turn"] * 4
    assert timed.kept_share == 0.25


def test_a_remote_set_without_a_cache_is_never_warm(served, plan):
    assert time_cold(plan(ShardSet(served), 4), 1) is None


def test_a_cached_set_is_cold_from_the_server_and_warm_from_the_cache(served, tmp_path, range_server, plan):
    cache = CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=10**9)
    work = plan(ShardSet(served, cache=cache), 4)
    asked = []
    for _ in range(3):
        work.opened.reader.read_stored(work.rows().tolist(), work.parts)
        asked.append(len(shard_requests(range_server)))
    assert 0 < asked[0] == asked[1] == asked[2]
    time_cold(work, 2)
    again = len(shard_requests(range_server)) - asked[0]
    assert again == 2 * 2 * 4 * requests_per_sample(work)  # fetch and chain, twice


@pytest.mark.parametrize(("samples", "batch_size"), [(1, 1), (8, 2), (8, 8)])
def test_requests_are_those_that_the_server_sees(served, range_server, samples, batch_size, plan):
    work = plan(ShardSet(served), samples, batch_size=batch_size)
    for places in work.batches():
        work.opened.reader.read_stored([work.rows().tolist()[place] for place in places], work.parts)
    assert requests_per_sample(work) == len(shard_requests(range_server)) / samples > 0


def test_a_local_set_takes_no_requests(diode_sets, plan):
    assert requests_per_sample(plan(diode_sets[1], 4)) is None


def test_a_cached_remote_set_is_profiled(served, tmp_path):
    outcome = run(
        ProfileConfig(set=served, samples=4, repeats=1, num_workers=0, cache=str(tmp_path / "cache"), **SMALL)
    )
    assert outcome.data["cold"]["kept_share"] == 0
    assert outcome.data["cold"]["fetch"]["samples"] == 4
    assert re.search(r"fetch: from the cache; cold: over the network, \d\.\d\d requests a sample", outcome.text)
    assert "\n  fetch, cold " in outcome.text


def test_there_is_no_transfer_to_a_cpu(diode_sets, plan):
    assert time_transfer(plan(diode_sets[1], 2), 1, torch.device("cpu")) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_gpu_is_said(diode_sets):
    outcome = run(ProfileConfig(set=diode_sets[1].url, samples=2, repeats=1, num_workers=0, **SMALL))
    assert outcome.data["transfer"] is None
    assert "transfer: this machine has no CUDA device, so there is none" in outcome.data["notes"]


@pytest.mark.parametrize(("kept", "said"), [(0.05, False), (0.4, True)])
def test_a_file_system_that_does_not_drop_is_told_of(diode_sets, monkeypatch, kept, said):
    monkeypatch.setattr(cold, "drop", lambda work: kept)
    outcome = run(ProfileConfig(set=diode_sets[1].url, samples=2, repeats=1, num_workers=0, **SMALL))
    assert outcome.data["cold"]["kept_share"] == kept
    assert any("kept 40 % of a shard in memory" in note for note in outcome.data["notes"]) == said
