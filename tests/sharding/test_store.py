"""The same set from a folder and from a web server with ranges, on loopback."""

import http.server
import re
import threading
from functools import partial

import numpy as np
import pytest

from sharding.config import ShardDiodeConfig
from sharding.create import shard_diode
from sharding.errors import DataError
from sharding.shardset import ShardSet
from sharding.store import LocalStore, is_remote, open_store


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and single byte ranges, and keeps what was asked for."""

    def do_GET(self):
        requested = self.headers.get("Range")
        self.server.requests.append((self.path, requested))
        if requested is None:
            return super().do_GET()
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", requested).groups())
        with open(self.translate_path(self.path), "rb") as file:
            data = file.read()
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}")
        self.send_header("Content-Length", str(len(data[first : last + 1])))
        self.end_headers()
        return self.wfile.write(data[first : last + 1])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    handler = partial(RangeHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


@pytest.fixture
def served(diode_source, tmp_path, server):
    shard_diode(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), split="train", workers=1))
    return f"http://127.0.0.1:{server.server_address[1]}/set"


def test_a_set_behind_a_web_server_is_the_same_set(served, tmp_path, server):
    remote, local = ShardSet(served), ShardSet(tmp_path / "set")
    for row in range(len(local)):
        np.testing.assert_array_equal(remote[row].depth, local[row].depth)
        np.testing.assert_array_equal(remote[row].image, local[row].image)
    assert all(requested for path, requested in server.requests if "/shards/" in path)


def test_a_missing_set_and_a_dead_server_are_clear_errors(served, server):
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
