"""An archive that is cut off, replaced, or lost while it is read."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from sharding.archives.archive import open_archive
from sharding.archives.http_object import HttpObject
from sharding.errors import DataError, UsageError
from sharding.making import from_archive
from sharding.making.ledger import Ledger
from sharding.making.target import LocalTarget
from tests.sharding.archives import test_url_source as servers
from tests.sharding.archives.test_url_source import count_received, serving
from tests.sharding.shard_runs import content
from tests.sharding.toy_archives import IMAGES, finish, make, pack, shrink


@pytest.fixture(autouse=True)
def _archives_are_small(monkeypatch):
    monkeypatch.setattr("sharding.archives.fingerprint.SAMPLE_BYTES", 1000)


def noisy(count, size=(300, 400)):
    """A MegaDepth archive of images that do not compress, each a third of a MiB."""
    members = []
    for number in range(count):
        file = io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(noise).save(file, "PNG", compress_level=0)
        members.append((f"a/{number // 10:04d}/dense0/imgs/{number}.png", file.getvalue()))
    return members


@pytest.fixture
def little_ahead(monkeypatch):
    """What is read is soon written, so that a small archive can be cut in its middle."""
    shrink(monkeypatch, BATCH_BYTES=1 << 18, ENCODED_AHEAD_BYTES=1 << 18)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_a_cut_archive_is_an_error_and_goes_on_when_it_has_grown(little_ahead, tmp_path, suffix):
    zeros = ("a/zeros", bytes(8 << 20))  # plain offsets lie far beyond compressed ones
    path = pack(tmp_path / f"x{suffix}", [zeros, *noisy(20)])
    data = path.read_bytes()
    make(IMAGES, path, tmp_path / "whole", shard_size=1 << 20)
    shards = []
    for part in (0.3, 0.6, 0.75, 0.95):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(DataError, match=r"x\.tar.* (truncated|ends)"):
            make(IMAGES, path, tmp_path / "set", shard_size=1 << 20)
        assert not (tmp_path / "set/manifest.json").exists()
        shards.append(Ledger(LocalTarget(tmp_path / "set")).read_resume_point().shard)
    assert shards == sorted(shards)
    assert shards[0] < shards[-1]
    path.write_bytes(data)
    finish(replace(IMAGES, shard_size=1 << 20), path, tmp_path / "set", content(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "suffix"),
    [
        (0.8, ".tar.gz"),
        (1, ".tar"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((0.8, ".tar"), (1, ".tar.gz"), (1, ".tar.zst"))),
    ],
)
def test_another_archive_in_its_place_is_refused_with_both_values(little_ahead, tmp_path, suffix, part):
    """The first bytes are the same, so that only what was read tells."""
    members = noisy(20)
    path = pack(tmp_path / f"x{suffix}", members)
    data = path.read_bytes()
    size = int(len(data) * part)
    path.write_bytes(data[: len(data) * 8 // 10])
    with pytest.raises(DataError):
        make(IMAGES, path, tmp_path / "set", shard_size=1 << 20)
    was = Ledger(LocalTarget(tmp_path / "set")).read_resume_point()
    assert was.shard > 1
    other = pack(path, [*members[:1], *members[:0:-1]]).read_bytes()
    path.write_bytes(other[:size])
    assert other[:100_000] == data[:100_000]
    with pytest.raises(UsageError, match=rf"was {was.archive}, is \d+ bytes, fingerprint [0-9a-f]+ now; restore"):
        make(IMAGES, path, tmp_path / "set", shard_size=1 << 20)
    path.write_bytes(data)
    make(IMAGES, path, tmp_path / "set", shard_size=1 << 20)
    make(IMAGES, path, tmp_path / "plain", shard_size=1 << 20)
    assert content(tmp_path / "set") == content(tmp_path / "plain")


@pytest.fixture
def remote(monkeypatch, tmp_path):
    """A server with an archive of 24 MB, all bounds that much smaller, and what it sends downloaded by one set."""
    shrink(monkeypatch, SPAN_BYTES=3 << 20, HELD_BYTES=1 << 20, BATCH_BYTES=1 << 19, ENCODED_AHEAD_BYTES=1 << 20)
    monkeypatch.setattr(from_archive, "open_archive", partial(open_archive, stride_bytes=1 << 20))
    monkeypatch.setattr("sharding.archives.http_object.MAX_JUMP_BLOCKS", 2)
    monkeypatch.setattr("sharding.archives.blocks.CACHED_BLOCKS", 8)
    monkeypatch.setattr(HttpObject.__init__, "__defaults__", (5, 1, 0.01))
    path = pack(tmp_path / "x.tar.gz", noisy(66))
    make(IMAGES, path, tmp_path / "whole", shard_size=1 << 30)
    with serving(path.read_bytes()) as (url, does):
        yield url, does, content(tmp_path / "whole"), path


def test_after_a_connection_is_lost_for_good_a_rerun_downloads_what_is_left(remote, tmp_path, monkeypatch):
    url, does, whole, _path = remote
    received = count_received(monkeypatch)
    bound = (3 + 1 + 1 + 1) << 20  # span, held, ahead, stride
    slack = 2 * 1000 + 12 * (1 << 20)  # the fingerprint; what two threads of rapidgzip and the blocks read ahead
    for lost_at in (10, 17):
        target = tmp_path / str(lost_at)
        with lost_beyond(does, lost_at << 20), pytest.raises(DataError, match="run again when the network"):
            make(IMAGES, url, target, shard_size=1 << 30)
        position = Ledger(LocalTarget(target)).read_resume_point()
        assert position.used >= (lost_at << 20) - bound - slack
        assert position.shard > 0
        before = received()
        make(IMAGES, url, target, shard_size=1 << 30)
        assert received() - before <= len(does.data) - (lost_at << 20) + bound + slack
        found = content(target)
        assert {name: data for name, data in found.items() if name != "manifest.json"} == {
            name: data for name, data in whole.items() if name != "manifest.json"
        }


class lost_beyond:
    """The server sends nothing from a byte on, as if the line were cut, but for the last bytes of the file."""

    def __init__(self, does, byte):
        self.does, self.byte = does, byte

    def __enter__(self):
        self.patch, byte, send = pytest.MonkeyPatch(), self.byte, servers.Handler.send_body

        def cutting(handler, does, body):
            first = len(does.data) - len(body)
            if len(body) < 1 << 20 or first + len(body) <= byte:
                return send(handler, does, body)
            try:
                handler.wfile.write(body[: max(0, byte - first)])
            finally:
                handler.close_connection = True
            return None

        self.patch.setattr(servers.Handler, "send_body", cutting)

    def __exit__(self, *error):
        self.patch.undo()
