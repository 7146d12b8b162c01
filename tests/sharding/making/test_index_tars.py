import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from sharding.checking.verify import run as verify
from sharding.codecs.npy import encode_npy
from sharding.config import IndexConfig, VerifyConfig
from sharding.errors import DataError, UsageError
from sharding.making.index_tars import run
from sharding.reading.shard_set import ShardSet

webdataset = pytest.importorskip("webdataset")


def depth_map(number):
    depth = np.full((6, 8), number + 1.0, np.float32)
    depth[0, 0] = 0
    return depth


@pytest.fixture
def tars(tmp_path):
    """Two tars by webdataset's own writer: seven samples with an image, a depth map and a class."""
    folder = tmp_path / "tars"
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "mine-%04d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(7):
            pixels = np.full((6, 8, 3), number, np.uint8)
            writer.write(
                {
                    "__key__": f"Sub/Sample{number}",
                    "png": pixels,
                    "depth.npy": encode_npy(depth_map(number)),
                    "cls": number,
                }
            )
    return folder


def test_tars_made_elsewhere_become_a_set(tars, tmp_path):
    outcome = run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
    assert outcome.data["samples"] == 7
    assert outcome.data["skipped"] == {"cls": 7}
    opened = ShardSet(tmp_path / "set")
    for number in range(7):
        sample = opened[number]
        assert sample.key == f"Sub/Sample{number}"
        assert (sample.image == number).all()
        np.testing.assert_array_equal(sample.depth, depth_map(number))
        np.testing.assert_array_equal(sample.valid, depth_map(number) > 0)
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


def test_names_in_capitals_are_read_by_their_own_spelling(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (8, 6), (10, 20, 30)).save(picture, "PNG")
    with tarfile.open(tmp_path / "camera.tar", "w") as tar:
        for number in range(3):
            for ext, data in (("PNG", picture.getvalue()), ("depth.npy", encode_npy(depth_map(number)))):
                info = tarfile.TarInfo(f"DSC{number}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    run(IndexConfig(tars=str(tmp_path / "camera.tar"), set=str(tmp_path / "set")))
    opened = ShardSet(tmp_path / "set")
    assert opened.index["image_ext"].tolist() == ["PNG"] * 3
    assert [sample.depth[1, 1] for sample in opened.read(range(3))] == [1, 2, 3]
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).data["faults"] == []


@pytest.mark.parametrize(
    ("ext", "problem"),
    [
        ("Depth.npy", r"capitals\.tar, key a: expected a member named KEY\.depth\.npy, found a\.Depth\.npy: rename it"),
        ("VALID.npy", r"capitals\.tar, key a: expected a member named KEY\.valid\.npy, found a\.VALID\.npy: rename it"),
        ("depth.NPY", r"capitals\.tar, key a: depth part \.NPY: expected one of planes\.npy, npy, log16\.png"),
    ],
)
def test_a_part_that_no_reader_would_find_again_is_refused(tmp_path, ext, problem):
    write_tar(tmp_path / "capitals.tar", {"a.png": png(), f"a.{ext}": encode_npy(depth_map(0))})
    with pytest.raises(DataError, match=problem):
        run(IndexConfig(tars=str(tmp_path / "capitals.tar"), set=str(tmp_path / "set")))


def test_the_names_of_what_has_no_image_do_not_matter(tmp_path):
    write_tar(tmp_path / "some.tar", {"a.Depth.npy": b"", "b.png": png(), "c.VALID.npy": b""})
    done = run(IndexConfig(tars=str(tmp_path / "some.tar"), set=str(tmp_path / "set")))
    assert done.data["samples"] == 1
    assert list(ShardSet(tmp_path / "set").index["key"]) == ["b"]


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def png():
    picture = io.BytesIO()
    Image.new("RGB", (8, 6)).save(picture, "PNG")
    return picture.getvalue()


def test_the_tars_are_not_changed_and_not_copied(tars, tmp_path):
    before = {path.name: path.read_bytes() for path in tars.iterdir()}
    run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
    assert {path.name: path.read_bytes() for path in tars.iterdir()} == before
    assert all(path.is_symlink() for path in (tmp_path / "set/shards").iterdir())


def test_a_compressed_tar_is_refused_with_advice(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(DataError, match="expected a tar"):
        run(IndexConfig(tars=str(path), set=str(tmp_path / "set")))


def test_a_broken_image_names_tar_and_key(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("x.png")
        info.size = 60
        tar.addfile(info, io.BytesIO(buffer.getvalue()[:60]))
    with pytest.raises(DataError, match=r"a\.tar, key x"):
        run(IndexConfig(tars=str(tmp_path), set=str(tmp_path / "set")))


def test_an_existing_set_is_not_overwritten(tars, tmp_path):
    run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
    with pytest.raises(UsageError, match="holds a set already"):
        run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
