"""Archives that are not what they should be: hostile, wrong, or not the published one."""

import hashlib
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest

from sharding.archives.http_object import HttpObject
from sharding.errors import DataError
from sharding.making.ledger import Ledger
from sharding.making.target import LocalTarget
from sharding.reading.shard_set import ShardSet
from sharding.sources import published
from tests.sharding.archives.test_url_source import serving
from tests.sharding.shard_runs import content
from tests.sharding.tarballs import END, entry, write
from tests.sharding.toy_archives import DIODE, IMAGES, MEGADEPTH, files, killed_at, make, pack, plain, shrink, shuffled


@pytest.fixture(autouse=True)
def _archives_are_small(monkeypatch):
    monkeypatch.setattr("sharding.archives.fingerprint.SAMPLE_BYTES", 1000)


def huge_image():
    """A PNG of a billion pixels in a few hundred bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 25_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def tree(root):
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def test_hostile_entries_are_passed_over_and_nothing_is_written_outside(diode_source, tmp_path):
    members = files(diode_source)
    make(DIODE, pack(tmp_path / "plain.tar", members), tmp_path / "plain")
    stem = "train/outdoor/scene_00007/scan_00003/00007_00003_outdoor_999_010"
    hostile = [
        entry(f"/{tmp_path}/{stem}.png", b"x"),
        entry(f"../../{stem}.png", b"x"),
        entry(f"train/../../../{stem}.png", b"x"),
        entry(f"{stem}.png", kind=tarfile.SYMTYPE),
        entry(f"{stem}_depth.npy", kind=tarfile.LNKTYPE),
        entry(f"{stem}_depth_mask.npy", kind=tarfile.CHRTYPE),
        entry("shards/diode-train-000000.tar.zst", b"x"),
        entry("train/outdoor", kind=tarfile.FIFOTYPE),
    ]
    path = write(tmp_path / "x.tar.gz", b"".join(hostile) + plain(members))
    before = tree(tmp_path)
    outcome = make(DIODE, path, tmp_path / "set")
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert all(name.is_relative_to(tmp_path / "set") for name in after.keys() - before.keys())
    assert outcome.data["samples"] == len(ShardSet(tmp_path / "plain"))
    skipped = outcome.data["skipped"]
    assert skipped["name that leads out of the archive"] == 3
    assert (skipped["symbolic link"], skipped["hard link"], skipped["device"], skipped["named pipe"]) == (1, 1, 1, 1)


def test_a_header_of_a_hundred_gigabytes_is_a_lie_that_is_told(diode_source, tmp_path):
    name = "train/outdoor/scene_00007/scan_00003/00007_00003_outdoor_999_010.png"
    lie = entry(name, b"short", size=100 << 30)
    path = write(tmp_path / "x.tar.gz", plain(files(diode_source))[: -len(END)] + lie + END)
    with pytest.raises(DataError, match=r"outdoor_999_010.png.: expected 107374182400 bytes, found that the archive"):
        make(DIODE, path, tmp_path / "set")
    assert not (tmp_path / "set/manifest.json").exists()


def test_an_image_of_a_billion_pixels_goes_to_quarantine(megadepth_source, tmp_path):
    bomb = ("MegaDepth_v1/0001/dense0/imgs/9_bomb_o.png", huge_image())
    outcome = make(IMAGES, pack(tmp_path / "x.tar", [bomb, *files(megadepth_source)]), tmp_path / "set", allow_bad=1)
    assert (outcome.data["samples"], outcome.data["quarantined"]) == (8, 1)
    (line,) = map(json.loads, (tmp_path / "set/quarantine.jsonl").read_text().splitlines())
    assert (line["key"], line["files"]) == ("0001_dense0_9_bomb_o", [bomb[0]])
    assert "pixels" in line["reason"]


def test_a_server_without_ranges_cannot_be_used_and_the_error_says_what_can(diode_source, tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.archives.http_object.MAX_JUMP_BLOCKS", 0)
    filler = [("train/filler", np.random.default_rng(0).bytes(3 << 20))]
    path = pack(tmp_path / "x.tar", [*filler, *files(diode_source)])
    with serving(path.read_bytes()) as (url, does):
        does.ranges = False
        with pytest.raises(DataError, match=r"does not send parts of a file.*download the file with another tool"):
            make(DIODE, url, tmp_path / "set")


def many(name, count=1200):
    return [(name.format(i), bytes(100)) for i in range(count)]


FOREIGN = {
    "megadepth as diode": (DIODE, "phoenix/S6/zl548/MegaDepth_v1/0001/dense0/imgs/{}.jpg", "not of DIODE's layout"),
    "diode as megadepth": (MEGADEPTH, "train/outdoor/scene_00001/scan_00001/{}.png", "not of MegaDepth's layout"),
    "val as train": (DIODE, "val/outdoor/scene_00001/scan_00001/00001_00001_outdoor_{:03d}_000.png", "of val/outdoor"),
    "normals": (DIODE, "normals/scene_00001/scan_00001/{}_normal.npy", "not of DIODE's layout"),
}


@pytest.mark.parametrize("which", list(FOREIGN))
def test_the_wrong_archive_is_noticed_early_and_binds_nobody(
    which, diode_source, megadepth_source, tmp_path, monkeypatch
):
    shrink(monkeypatch, SPAN_BYTES=20_000, ENCODED_AHEAD_BYTES=1000, BATCH_BYTES=500)
    config, name, found = FOREIGN[which]
    wrong = pack(tmp_path / "wrong.tar", many(name))
    with pytest.raises(DataError, match=rf"expected .*, found 1000 {found}; is it the right archive and split"):
        make(config, wrong, tmp_path / "set")
    right = pack(tmp_path / "right.tar", files(diode_source if config is DIODE else megadepth_source))
    make(config, right, tmp_path / "set")
    make(config, right, tmp_path / "plain")
    assert content(tmp_path / "set") == content(tmp_path / "plain")


def test_a_small_wrong_archive_is_noticed_at_its_end(megadepth_source, tmp_path):
    path = pack(tmp_path / "x.tar.gz", files(megadepth_source))
    with pytest.raises(DataError, match=r"expected DIODE's train/.*, found 16 not of DIODE's layout"):
        make(DIODE, path, tmp_path / "set")


@pytest.mark.slow
def test_other_files_after_a_good_beginning_do_not_make_it_the_wrong_archive(diode_source, tmp_path, monkeypatch):
    """Also for a run that goes on there, and so meets nothing else."""
    monkeypatch.setattr("sharding.sources.arrivals.FOREIGN_AFTER_MEMBERS", 60)
    shrink(monkeypatch, BATCH_BYTES=500)
    other = many("val/outdoor/scene_00001/scan_00001/00001_00001_outdoor_{:03d}_000.png", 80)
    good = [member for member in files(diode_source) if member[0].startswith("train") and "010" in member[0]]
    good = [member for member in good if "._" not in member[0] and "normal" not in member[0]]
    path = pack(tmp_path / "x.tar", [*good[:12], *other, *good[12:]])
    make(DIODE, path, tmp_path / "plain")
    step = 0
    while killed_at(step := step + 3, DIODE, path, tmp_path / str(step)):
        make(DIODE, path, tmp_path / str(step))
        assert content(tmp_path / str(step)) == content(tmp_path / "plain")
    assert step > 9


@pytest.fixture
def as_published(diode_source, tmp_path, monkeypatch):
    """An archive that the table of published ones holds."""
    path = pack(tmp_path / "train.tar.gz", shuffled(files(diode_source), 6))
    data = path.read_bytes()
    one = published.Published(
        name=path.name, md5=hashlib.md5(data).hexdigest(), least_bytes=len(data), most_bytes=len(data), samples=9
    )
    monkeypatch.setattr(published, "_ARCHIVES", {"diode": (one,)})
    return path, one


def test_the_published_md5_is_checked_and_said(as_published, tmp_path, capsys):
    path, one = as_published
    outcome = make(DIODE, path, tmp_path / "set")
    source = ShardSet(tmp_path / "set").manifest.source
    assert (source["md5"], source["published"]) == (one.md5, "train.tar.gz: has the published md5")
    assert "train.tar.gz: has the published md5" in outcome.text
    assert "some 9 samples if it is the published train.tar.gz" in capsys.readouterr().err


def test_a_local_archive_has_its_md5_also_after_an_interruption(as_published, tmp_path):
    path, _one = as_published
    make(DIODE, path, tmp_path / "plain")
    for step in (7, 9, 12):
        assert killed_at(step, DIODE, path, tmp_path / str(step))
        assert Ledger(LocalTarget(tmp_path / str(step))).read_resume_point().shard > 0
        make(DIODE, path, tmp_path / str(step))
        assert content(tmp_path / str(step)) == content(tmp_path / "plain")


def interrupted(path, tmp_path, monkeypatch):
    """A set that was downloaded whole, and one whose download was killed and gone on with."""
    monkeypatch.setattr(HttpObject.__init__, "__defaults__", (5, 1, 0.01))
    with serving(path.read_bytes()) as (url, _):
        make(DIODE, url, tmp_path / "whole")
        assert killed_at(7, DIODE, url, tmp_path / "set")
        assert Ledger(LocalTarget(tmp_path / "set")).read_resume_point().shard > 0
        make(DIODE, url, tmp_path / "set")


def test_a_download_has_its_md5_also_after_an_interruption(as_published, tmp_path, monkeypatch):
    interrupted(as_published[0], tmp_path, monkeypatch)
    assert ShardSet(tmp_path / "set").manifest.source["published"] == "train.tar.gz: has the published md5"
    assert content(tmp_path / "set") == content(tmp_path / "whole")


def test_where_an_md5_cannot_be_gone_on_with_a_download_says_so(as_published, tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.archives.md5._find_openssl", lambda: None)
    interrupted(as_published[0], tmp_path, monkeypatch)
    source = ShardSet(tmp_path / "set").manifest.source
    assert source["md5"] is None
    assert source["published"].endswith("its md5 was not computed, for it was downloaded in several runs")
    assert ShardSet(tmp_path / "set").manifest.identity == ShardSet(tmp_path / "whole").manifest.identity


def test_name_and_size_of_the_published_archive_with_another_md5_is_an_error(as_published, tmp_path, monkeypatch):
    path, one = as_published
    found = one.md5
    wrong = published.Published(name=one.name, md5="0" * 32, least_bytes=one.least_bytes, most_bytes=one.most_bytes)
    monkeypatch.setattr(published, "_ARCHIVES", {"diode": (wrong,)})
    for _ in range(2):  # and so is a rerun, which reads nothing more
        with pytest.raises(DataError, match=rf"expected the published md5 0{{32}}, found {found}.*download it again"):
            make(DIODE, path, tmp_path / "set")
    assert not (tmp_path / "set/manifest.json").exists()


def test_megadepth_has_no_published_md5_and_none_is_computed(megadepth_source, tmp_path):
    make(IMAGES, pack(tmp_path / "x.tar", files(megadepth_source)), tmp_path / "set")
    source = ShardSet(tmp_path / "set").manifest.source
    assert (source["md5"], source["published"]) == (None, None)
