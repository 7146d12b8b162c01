import hashlib
import io
import tarfile

import pytest
import zstandard

from sharding.format.origin import Origin
from sharding.format.sample import DepthFacts
from sharding.format.shard import Packer
from sharding.making.open_shard import open_shard
from sharding.making.packing import PackedSample
from sharding.making.target import LocalTarget
from sharding.sources.pairing import Candidate, Refusal

ORIGIN = Origin(split="train", scene="1", scan="2", scene_type="outdoor")


def sample(key, compression, error=0.0):
    packer = Packer(compression)
    members = {
        part: (ext, packer.pack(f"{key}.{ext}", f"{key} {part}".encode() * 50))
        for part, ext in (("image", "jpg"), ("meta", "json"))
    }
    candidate = Candidate(key=key, files={}, origin=ORIGIN)
    return PackedSample(candidate=candidate, height=3, width=4, depth=DepthFacts(), depth_error=error, members=members)


@pytest.mark.parametrize(("compression", "suffix"), [("zstd", ".tar.zst"), ("none", ".tar")])
def test_the_line_tells_what_is_in_the_file(tmp_path, compression, suffix):
    path = tmp_path / "shards" / f"x-000007{suffix}"
    refusal = Refusal(key="c", files=("c.jpg",), reason="broken")
    with open_shard(LocalTarget(tmp_path), path.name, compression) as shard:
        for key, error in (("a", 0.25), ("b", 0.5), ("d", 0.0)):
            shard.add(sample(key, compression, error))
        shard.refused.append(refusal)
        assert not path.exists()
    data, entry = path.read_bytes(), shard.entry("tag", {"c.jpg": 5})
    file = entry.file
    assert entry.tag == "tag"
    assert (file.name, file.samples, file.bytes) == (f"shards/{path.name}", 3, len(data))
    assert (file.sha256, file.compression) == (hashlib.sha256(data).hexdigest(), compression)
    assert (entry.refused, entry.refused_at, entry.depth_error) == ([refusal], {"c.jpg": 5}, 0.5)
    assert entry.keys == {"a", "b", "c", "d"}
    for row in entry.rows:
        assert (row.shard, row.origin) == (path.name, ORIGIN)
        assert (row.height, row.width, list(row.parts)) == (3, 4, ["image", "meta"])
        for part, (_, span) in row.parts.items():
            stored = data[span.offset : span.offset + span.bytes]
            content = f"{row.key} {part}".encode() * 50
            if compression == "none":
                assert stored == content
            else:
                assert content in zstandard.ZstdDecompressor().decompress(stored)
    with zstandard.open(path, "rb") if compression == "zstd" else path.open("rb") as stream:
        names = tarfile.open(fileobj=io.BytesIO(stream.read())).getnames()
    assert names == ["a.jpg", "a.json", "b.jpg", "b.json", "d.jpg", "d.json"]


def test_a_shard_that_is_not_finished_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_shard(LocalTarget(tmp_path), "x.tar", "none") as shard:  # noqa: PT012
        shard.add(sample("a", "none"))
        raise KeyboardInterrupt
    assert list((tmp_path / "shards").iterdir()) == []
