"""The same set from a folder and from a web server with ranges, on loopback."""

import os

import numpy as np
import pytest

from sharding.config import ShardDiodeConfig
from sharding.errors import DataError
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from sharding.stores.local import LocalStore
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
