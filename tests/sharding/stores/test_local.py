"""The same set from a folder and from a web server with ranges, on loopback."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sharding.config import ShardDiodeConfig
from sharding.errors import DataError
from sharding.machine.regular import open_descriptor
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet
from sharding.stores import local
from sharding.stores.address import is_remote
from sharding.stores.local import OPEN_FILES, LocalStore
from sharding.stores.opening import open_store


@pytest.fixture
def served(diode_source, tmp_path, range_server):
    shard_diode(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), split="train", workers=1))
    return f"http://127.0.0.1:{range_server.server_address[1]}/set"


def test_a_set_behind_a_web_server_is_the_same_set(served, tmp_path, range_server):
    remote, local = ShardSet(served), ShardSet(tmp_path / "set")
    for row in range(len(local)):
        np.testing.assert_array_equal(remote[row].depth, local[row].depth)
        np.testing.assert_array_equal(remote[row].image, local[row].image)
    assert all(requested for path, requested in range_server.requests if "/shards/" in path)


def test_a_missing_set_behind_a_web_server_is_a_clear_error(served):
    with pytest.raises(DataError, match=r"manifest\.json"):
        ShardSet(served + "-of-nobody")


@pytest.mark.parametrize(
    ("url", "remote"),
    [("s3://b/p", True), ("https://h/p", True), ("sets/x", False), ("/sets/x", False), ("file:///sets/x", False)],
)
def test_urls_are_remote_and_paths_are_not(url, remote):
    assert is_remote(url) == remote
    if not remote:
        assert isinstance(open_store(url), LocalStore)


def test_a_local_store_tells_a_short_file_from_a_missing_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    store = LocalStore(tmp_path)
    assert store.read("a", [(1, 2), (0, 1)]) == [b"bc", b"a"]
    assert store.size("a") == 3
    assert store.size("b") is None
    with pytest.raises(DataError, match="expected 5 bytes at 1, found 2"):
        store.read("a", [(1, 5)])
    with pytest.raises(DataError, match="No such file"):
        store.read("b", [(0, 1)])


def test_a_file_that_comes_in_pieces_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(bytes(range(100)))
    pread = os.pread
    monkeypatch.setattr("os.pread", lambda file, length, offset: pread(file, min(length, 7), offset))
    assert LocalStore(tmp_path).read("x", [(3, 50)]) == [bytes(range(3, 53))]
    with pytest.raises(DataError, match=r"x: expected 50 bytes at 60, found 40; the file is truncated"):
        LocalStore(tmp_path).read("x", [(60, 50)])
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder: expected a readable file: Is a directory"):
        LocalStore(tmp_path).read("folder", [(0, 5)])


def open_below(folder):
    """Names of the files below a folder that this process has open."""
    links = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
    return sorted(os.path.basename(link) for link in links if link.startswith(f"{folder}/"))


def test_few_files_stay_open_and_none_without_the_store(tmp_path):
    for number in range(2 * OPEN_FILES):
        (tmp_path / f"{number:03d}").write_bytes(bytes([number]))
    store = LocalStore(tmp_path)
    for number in range(2 * OPEN_FILES):
        assert store.read(f"{number:03d}", [(0, 1)]) == [bytes([number])]
    assert open_below(tmp_path) == [f"{number:03d}" for number in range(OPEN_FILES, 2 * OPEN_FILES)]
    del store
    assert open_below(tmp_path) == []


def test_files_are_closed_where_a_process_has_too_many(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    store = LocalStore(tmp_path)
    store.read("a", [(0, 1)])
    store.read("b", [(0, 1)])

    def crowded(path):
        if open_below(tmp_path):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return open_descriptor(path)

    monkeypatch.setattr(local, "open_descriptor", crowded)
    assert store.read("c", [(0, 1)]) == [b"c"]
    assert open_below(tmp_path) == ["c"]


def test_threads_read_on_from_files_that_are_dropped_meanwhile(tmp_path):
    names = [f"{number:03d}" for number in range(3 * OPEN_FILES)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 1000)
    store = LocalStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: store.read(name, [(3, 3), (0, 6)]), names * 20))
    assert found == [[name.encode(), 2 * name.encode()] for name in names * 20]
