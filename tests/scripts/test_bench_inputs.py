import io
import tarfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from making_bench.inputs import comment_lead, lay_out, list_photos, list_scans, make_photos, make_scans, pack_members
from PIL import Image

from sharding.errors import DataError
from sharding.sources import diode, megadepth
from sharding.sources.folder import FolderSource


@pytest.fixture(scope="module")
def photos():
    return make_photos(2, 60, 80)


@pytest.fixture(scope="module")
def scans():
    return make_scans(2, 48, 64)


def read_tar(path):
    with tarfile.open(path) as tar:
        return [(one.name, tar.extractfile(one).read()) for one in tar if one.isfile()]


def test_the_megadepth_archive_has_pairs_of_unequal_images(photos, tmp_path):
    pack_members(list_photos(photos, 130), photos.bodies, tmp_path / "m.tar.gz")
    members = read_tar(tmp_path / "m.tar.gz")
    parts = [megadepth.parse(name, with_depth=True) for name, _ in members]
    assert Counter(part.role for part in parts) == {"image": 130, "depth": 130}
    assert len({part.key for part in parts}) == 130
    images = {data for name, data in members if name.endswith(".jpg")}
    assert len(images) == 130
    for data in list(images)[:10]:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.format == "JPEG"
            assert image.info["comment"].isdigit()
    for name, data in members:
        if name.endswith(".h5"):
            with h5py.File(io.BytesIO(data)) as file:
                assert file["/depth"].dtype == np.float32


def test_images_of_a_folder_come_in_disorder_and_long_before_their_depth(photos):
    names = [entry.name.rpartition("/")[2] for entry in list_photos(photos, 100)]
    images = [name[:-4] for name in names if name.endswith(".jpg")]
    depths = [name[:-3] for name in names if name.endswith(".h5")]
    assert sorted(images) == sorted(depths)
    assert images != sorted(images)
    assert images != depths
    assert max(names.index(f"{one}.jpg") for one in images) < min(names.index(f"{one}.h5") for one in depths)


def test_the_comment_leaves_the_picture_as_it_is(photos):
    plain, commented = (
        np.asarray(Image.open(io.BytesIO(lead + photos.bodies[photos.views[0][0]])))
        for lead in (b"\xff\xd8", comment_lead("000000007"))
    )
    assert np.array_equal(plain, commented)


def test_the_variants_of_a_view_differ_in_the_image(photos, scans):
    for contents in (photos, scans):
        assert len({contents.bodies[view[0]] for view in contents.views}) == len(contents.views) == 6


def test_the_diode_archive_has_whole_triples_in_disorder(scans, tmp_path):
    pack_members(list_scans(scans, 110), scans.bodies, tmp_path / "train.tar.gz")
    members = read_tar(tmp_path / "train.tar.gz")
    parts = [diode.parse(name, split="train") for name, _ in members]
    assert Counter(part.role for part in parts) == {"image": 110, "depth": 110, "mask": 110}
    assert len({part.key for part in parts}) == 110
    assert [name for name, _ in members] != sorted(name for name, _ in members)
    shapes = {name[-9:]: np.load(io.BytesIO(data)).shape for name, data in members if name.endswith(".npy")}
    assert shapes == {"depth.npy": (48, 64, 1), "_mask.npy": (48, 64)}


def test_a_folder_holds_what_the_archive_holds(scans, tmp_path):
    entries = list_scans(scans, 20)
    lay_out(entries, scans.bodies, tmp_path / "diode")
    assert len(FolderSource(str(tmp_path / "diode")).list()) == 60
    for entry in entries[1:]:
        assert (tmp_path / "diode" / entry.name).read_bytes() == scans.bodies[entry.body]


@pytest.mark.slow
def test_what_a_view_takes_in_an_archive_is_known_beforehand(tmp_path):
    pictures = make_photos(1, 240, 320), make_scans(1, 192, 256)  # larger than the 32 KB that gzip looks back
    for contents, entries in zip(pictures, (list_photos(pictures[0], 60), list_scans(pictures[1], 60)), strict=True):
        pack_members(entries, contents.bodies, tmp_path / "a.tar.gz")
        found, expected = (tmp_path / "a.tar.gz").stat().st_size, 60 * contents.deflated_bytes
        assert 0.98 * expected < found < 1.02 * expected + 200 * len(entries)


def test_a_gzip_that_fails_is_an_error(photos):
    with pytest.raises(DataError, match="expected gzip to write it"):
        pack_members(list_photos(photos, 300), photos.bodies, Path("/dev/full"))
