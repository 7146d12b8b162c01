"""Small shard sets of the toy world, made once by the real writer; a web server that answers ranges."""

import http.server
import re
import threading
from functools import partial
from pathlib import Path

import pytest

from sharding.config import ShardDiodeConfig, ShardMegadepthConfig
from sharding.making.create import shard_diode, shard_megadepth
from sharding.reading.shard_set import ShardSet
from sharding.toyworld import make_diode, make_megadepth


@pytest.fixture(autouse=True)
def no_remote_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test before this one opened over the network does not decide how workers start here."""
    monkeypatch.setattr("sharding.stores.opening._opened_in", set())


@pytest.fixture(scope="session")
def megadepth_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MegaDepth tree of 24 toy images, traps included."""
    root = tmp_path_factory.mktemp("toy") / "megadepth"
    make_megadepth(str(root), images=24, height=64, width=96, seed=0)
    return root


@pytest.fixture(scope="session")
def diode_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DIODE tree of 40 train and 8 val toy views, traps included."""
    root = tmp_path_factory.mktemp("toy") / "diode"
    make_diode(str(root), images=40, height=64, width=96, seed=0)
    return root


@pytest.fixture(scope="session")
def megadepth_set(megadepth_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """The MegaDepth tree as a set with depth, in several shards."""
    target = tmp_path_factory.mktemp("sets") / "megadepth"
    shard_megadepth(
        ShardMegadepthConfig(source=str(megadepth_tree), set=str(target), with_depth=True, shard_size=60_000, workers=1)
    )
    return ShardSet(target)


@pytest.fixture(scope="session")
def diode_sets(diode_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardSet, ShardSet]:
    """The train and val split of the DIODE tree, in several shards."""
    root = tmp_path_factory.mktemp("sets")
    for split in ("train", "val"):
        shard_diode(
            ShardDiodeConfig(source=str(diode_tree), set=str(root / split), split=split, shard_size=400_000, workers=1)
        )  # type: ignore[arg-type]
    return ShardSet(root / "train"), ShardSet(root / "val")


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
def range_server(tmp_path):
    """Serves `tmp_path` on loopback; `.requests` holds (path, Range header) of each GET."""
    handler = partial(RangeHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)
