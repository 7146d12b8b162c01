"""What an interrupted download costs, at the bounds as they are."""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sharding.codecs.hdf5 import write_depth
from sharding.making.ledger import Ledger
from sharding.making.target import LocalTarget
from sharding.reading.shard_set import ShardSet
from tests.sharding.archives.test_url_source import serving
from tests.sharding.tarballs import END, entry
from tests.sharding.toy_archives import MEGADEPTH, killed_at, make

SIDE, SCENES, VIEWS = 1024, 5, 44
CONFIG = replace(MEGADEPTH, shard_size=1 << 30)  # so that shards end by distance, as late as they may


class GzipWriter:
    """A gzip file of one stream whose parts were deflated before, each once."""

    def __init__(self, file):
        self.file, self.crc32, self.size, self.known = file, 0, 0, {}
        file.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")

    def write(self, data):
        if data not in self.known:
            deflating = zlib.compressobj(1, wbits=-15)
            self.known[data] = deflating.compress(data) + deflating.flush(zlib.Z_FULL_FLUSH)
        self.file.write(self.known[data])
        self.crc32, self.size = zlib.crc32(data, self.crc32), self.size + len(data)

    def end(self):
        self.file.write(zlib.compressobj(wbits=-15).flush() + struct.pack("<II", self.crc32, self.size & 0xFFFFFFFF))


def write_archive(path, folder):
    """MegaDepth, 1.5 GB that do not compress: scenes whose depth maps come after all their images."""
    random = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file, "PNG", compress_level=0)
    write_depth(folder / "x.h5", random.uniform(1, 9, (SIDE, SIDE)).astype(np.float32))
    payloads = {"imgs": (file.getvalue(), "png"), "depths": ((folder / "x.h5").read_bytes(), "h5")}
    with path.open("wb") as packed:
        writer = GzipWriter(packed)
        for scene in range(SCENES):
            for part, (data, ext) in payloads.items():
                for view in range(VIEWS):
                    member = entry(f"a/{scene:04d}/dense0/{part}/{view}.{ext}", data)
                    writer.write(member[:512])
                    writer.write(member[512:])
        writer.write(END)
        writer.end()


@pytest.mark.slow
def test_a_kill_at_the_worst_moment_costs_at_most_a_gigabyte_of_download(tmp_path):
    """Counted at the server, both ends of the archive included."""
    path = tmp_path / "x.tar.gz"
    write_archive(path, tmp_path)
    size = path.stat().st_size
    assert size > 1_400_000_000
    with serving(np.memmap(path, np.uint8, "r").data) as (url, does):
        assert killed_at(7, CONFIG, url, tmp_path / "set")  # the second shard is whole, its position not saved
        position = Ledger(LocalTarget(tmp_path / "set")).read_resume_point()
        assert position.shard == 1
        assert position.waiting
        left = size - does.sent
        assert left < 500_000_000
        does.sent = 0
        make(CONFIG, url, tmp_path / "set")
        sent = does.sent
    assert sent <= left + 1_000_000_000
    assert sent < size * 0.95  # so that to begin anew would be noticed
    assert len(ShardSet(tmp_path / "set")) == SCENES * VIEWS
