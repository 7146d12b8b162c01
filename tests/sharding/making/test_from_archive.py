import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sharding.archives.archive import Archive
from sharding.archives.byte_source import LocalFile
from sharding.errors import DataError, UsageError
from sharding.making import from_archive
from sharding.making.ledger import Ledger
from sharding.reading.shard_set import ShardSet
from sharding.sources.resume_point import ResumePoint
from sharding.sources.spool import Spool
from tests.sharding.archives.test_url_source import bucket, serving
from tests.sharding.shard_runs import content, count_encoding
from tests.sharding.toy_archives import (
    DIODE,
    IMAGES,
    MEGADEPTH,
    count_reading,
    ends,
    files,
    images_first,
    make,
    pack,
    same_but_for_the_archive,
    samples,
    shard_of,
    shrink,
    shuffled,
)

CONFIGS = {"diode": DIODE, "megadepth": MEGADEPTH, "images": IMAGES}


@pytest.fixture(autouse=True)
def _archives_are_small(monkeypatch):
    monkeypatch.setattr("sharding.archives.fingerprint.SAMPLE_BYTES", 1000)


@pytest.fixture(params=list(CONFIGS))
def kind(request, diode_source, megadepth_source):
    """Options, and the tree they are for."""
    return CONFIGS[request.param], diode_source if request.param == "diode" else megadepth_source


def test_every_kind_of_source_gives_the_same_bytes(kind, tmp_path):
    config, root = kind
    members = shuffled(files(root), 1)
    for suffix in (".tar", ".tar.gz", ".tar.zst"):
        make(config, pack(tmp_path / f"x{suffix}", members), tmp_path / suffix)
    assert len(ShardSet(tmp_path / ".tar").manifest.shards) > 2
    with serving((tmp_path / "x.tar.gz").read_bytes()) as (url, _):
        make(config, url, tmp_path / "http")
    for other in (".tar.gz", ".tar.zst", "http"):
        same_but_for_the_archive(tmp_path / ".tar", tmp_path / other)
    manifest = ShardSet(tmp_path / "http").manifest
    assert manifest.source["archive"] == "x"
    assert manifest.source["bytes"] == (tmp_path / "x.tar.gz").stat().st_size
    assert manifest.source["members"] == len(members)
    assert manifest.made["order"] == "as in the archive"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_object_of_a_bucket_gives_the_same_bytes(diode_source, tmp_path, workers):
    (tmp_path / "store/bucket").mkdir(parents=True)
    path = pack(tmp_path / "store/bucket/x.tar.gz", shuffled(files(diode_source), 1))
    make(DIODE, path, tmp_path / "file")
    command = [sys.executable, "-m", "sharding", "shard", "diode", "s3://bucket/x.tar.gz", str(tmp_path / "s3")]
    with bucket(tmp_path / "store") as environment:  # obstore has threads of its own: a process of its own
        environment |= {"PYTHONPATH": ":".join(sys.path)}
        command += ["--split", "train", "--shard-size", "4000", "--workers", str(workers)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    same_but_for_the_archive(tmp_path / "s3", tmp_path / "file")


def test_the_samples_are_those_of_the_folder_in_any_order(kind, tmp_path):
    config, root = kind
    make(config, root, tmp_path / "folder")
    expected = samples(tmp_path / "folder")
    rows = ShardSet(tmp_path / "folder").index.set_index("key").sort_index()
    for seed in range(6):
        make(config, pack(tmp_path / f"{seed}.tar", shuffled(files(root), seed)), tmp_path / str(seed))
        assert samples(tmp_path / str(seed)) == expected
        found = ShardSet(tmp_path / str(seed)).index.set_index("key").sort_index()
        facts = [name for name in rows if not name.endswith(("_offset", "_bytes", "_crc32c")) and name != "shard"]
        assert found[facts].equals(rows[facts])


def test_what_is_skipped_is_counted_as_in_the_folder(diode_source, tmp_path):
    folder = make(DIODE, diode_source, tmp_path / "folder").data["skipped"]
    archive = make(DIODE, pack(tmp_path / "x.tar", files(diode_source)), tmp_path / "set").data["skipped"]
    assert archive == folder == {"of val/outdoor": 6, "AppleDouble file": 1, "normals": 1}


@pytest.mark.parametrize("name", ["images", "diode", pytest.param("megadepth", marks=pytest.mark.slow)])
def test_the_bytes_do_not_depend_on_workers(diode_source, megadepth_source, tmp_path, name, monkeypatch):
    shrink(monkeypatch, BATCH_BYTES=1500)  # several samples at a time at several workers
    config, root = CONFIGS[name], diode_source if name == "diode" else megadepth_source
    path = pack(tmp_path / "x.tar.gz", shuffled(files(root), 2))
    for workers in (1, 2, 3):
        make(config, path, tmp_path / str(workers), workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def test_a_bad_sample_leaves_a_hole_and_no_boundary_moves(kind, tmp_path):
    config, root = kind
    members = shuffled(files(root), 3)
    make(config, pack(tmp_path / "x.tar", members), tmp_path / "whole")
    whole = shard_of(tmp_path / "whole")
    suffix = ".png" if config is DIODE else ".jpg"
    wanted = [name for name, _ in members if name.endswith(suffix) and "val/" not in name and "._" not in name]
    for bad in wanted:
        broken = [(name, bytes(len(data)) if name == bad else data) for name, data in members]
        target = tmp_path / bad.replace("/", "_")
        make(config, pack(tmp_path / "x.tar", broken), target, allow_bad=1)
        (line,) = map(json.loads, (target / "quarantine.jsonl").read_text().splitlines())
        assert bad in line["files"]
        assert shard_of(target) == {key: shard for key, shard in whole.items() if key != line["key"]}


def cut_plainly(members, wanted, shard_bytes, span_bytes):
    """The reference: number of the shard of each wanted image, and how many there are."""
    at, number, begin, room, found = 0, 0, 0, shard_bytes, {}
    for name, end in ends(members).items():
        size = len(dict(members)[name])
        if wanted(name):
            found[name] = number
            room -= size
        at = end
        if room <= 0 or at - begin >= span_bytes:
            number += room < shard_bytes
            begin, room = at, shard_bytes
    return found, number + (room < shard_bytes)


@pytest.mark.parametrize("span", [1, 9000, 1 << 30])
def test_shards_end_by_size_or_by_distance_and_none_is_empty(megadepth_source, tmp_path, monkeypatch, span):
    shrink(monkeypatch, SPAN_BYTES=span)
    images = [member for member in files(megadepth_source) if "/imgs/" in member[0]]
    junk = [(f"MegaDepth_v1/0000/dense0/depths/{i}.h5", bytes(4000)) for i in range(30)]
    members = shuffled([*images, *junk], 5)
    make(IMAGES, pack(tmp_path / "x.tar", members), tmp_path / "set")
    expected, count = cut_plainly(members, lambda name: "/imgs/" in name, IMAGES.shard_size, span)
    found = shard_of(tmp_path / "set")
    keys = {name: "_".join(name.rpartition(".")[0].split("/")[i] for i in (1, 2, 4)).lower() for name in expected}
    assert {name: found[keys[name]] for name in expected} == expected
    manifest = ShardSet(tmp_path / "set").manifest
    assert len(manifest.shards) == count == len(set(expected.values()))
    assert all(shard.samples for shard in manifest.shards)


def test_memory_and_what_is_read_ahead_stay_within_their_bounds(megadepth_source, tmp_path, monkeypatch):
    held, batch, ahead = 3000, 2000, 5000
    shrink(monkeypatch, HELD_BYTES=held, BATCH_BYTES=batch, ENCODED_AHEAD_BYTES=ahead)
    flying, most, most_held, spilled = 0, 0, 0, 0
    put, take, in_order, batch_class = Spool.put, Spool.take, from_archive._in_order, from_archive._Batch

    def hold(self, data, age=0):
        nonlocal most_held
        number = put(self, data, age)
        most_held = max(most_held, self.held_bytes)
        return number

    def give_back(self, number):
        nonlocal spilled
        on_disk = self.place(number) is not None
        data = take(self, number)
        spilled += len(data) * on_disk
        return data

    def entered(*arguments, **options):
        nonlocal flying, most
        made = batch_class(*arguments, **options)
        flying += made.bytes
        most = max(most, flying)
        return made

    def leave(pairs):
        nonlocal flying
        for one, packed in pairs:
            flying -= one.bytes
            yield one, packed

    monkeypatch.setattr(Spool, "put", hold)
    monkeypatch.setattr(Spool, "take", give_back)
    monkeypatch.setattr(from_archive, "_Batch", entered)
    monkeypatch.setattr(from_archive, "_in_order", lambda pairs, meter: in_order(leave(pairs), meter))
    members = images_first(files(megadepth_source))
    make(MEGADEPTH, pack(tmp_path / "x.tar", members), tmp_path / "set")
    largest = max(len(data) + 512 for _, data in members)
    assert 0 < most_held <= 2 * held
    assert spilled > held
    assert batch <= most <= ahead + batch + 2 * largest
    assert flying == 0


@pytest.mark.parametrize("name", ["images", "megadepth"])
def test_reading_is_never_far_ahead_of_what_a_later_run_can_build_on(megadepth_source, tmp_path, monkeypatch, name):
    """Also over stretches without a sample, and behind a slow encoder."""
    bounds = {"SPAN_BYTES": 8000, "HELD_BYTES": 2000, "BATCH_BYTES": 1000, "ENCODED_AHEAD_BYTES": 3000}
    shrink(monkeypatch, **bounds)
    pack_all, read, save = from_archive.pack_all, Archive.read, Ledger.write_resume_point
    saved, lags = ResumePoint(), []

    def slow(some, *arguments):
        time.sleep(0.02 if some else 0)
        return pack_all(some, *arguments)

    def reading(self, num_bytes):
        lags.append(self.position - saved.enter)
        return read(self, num_bytes)

    def saving(self, position):
        nonlocal saved
        saved = position
        save(self, position)

    monkeypatch.setattr(from_archive, "pack_all", slow)
    monkeypatch.setattr(Archive, "read", reading)
    monkeypatch.setattr(Ledger, "write_resume_point", saving)
    junk = [(f"MegaDepth_v1/0000/dense0/other/{i}.txt", bytes(1000)) for i in range(60)]
    members = [*images_first(files(megadepth_source)), *junk, ("MegaDepth_v1/0009/dense0/imgs/9.jpg", b"bad")]
    make(CONFIGS[name], pack(tmp_path / "x.tar", members), tmp_path / "set", allow_bad=1)
    largest = max(len(data) + 1024 for _, data in members)
    assert max(lags) <= sum(bounds.values()) + 3 * largest


def test_a_rerun_reads_both_ends_of_the_archive_and_nothing_else(diode_source, tmp_path, monkeypatch, capsys):
    path = pack(tmp_path / "x.tar.gz", files(diode_source))
    first = make(DIODE, path, tmp_path / "set")
    before = content(tmp_path / "set")
    reads = count_bytes(monkeypatch)
    again = make(DIODE, path, tmp_path / "set", workers=2)
    assert reads == [(0, 1000), (path.stat().st_size - 1000, 1000)]
    assert content(tmp_path / "set") == before
    assert again.data == first.data
    assert "nothing to do" in capsys.readouterr().err


def count_bytes(monkeypatch):
    """(offset, size) of all that is read of a local archive."""
    reads, read_at = [], LocalFile.read_at

    def counting(self, offset, num_bytes):
        data = read_at(self, offset, num_bytes)
        reads.append((offset, len(data)))
        return data

    monkeypatch.setattr(LocalFile, "read_at", counting)
    return reads


CHANGED = {"preset": ("exact", "compact"), "shard_size": (4000, 5000), "compression": ("zstd", "none")}


@pytest.mark.parametrize("option", list(CHANGED))
@pytest.mark.parametrize("finished", [True, False])
def test_an_option_that_changes_bytes_is_refused_with_both_values(
    diode_source, tmp_path, option, finished, monkeypatch
):
    shrink(monkeypatch, BATCH_BYTES=500, ENCODED_AHEAD_BYTES=500)  # what is read is soon written
    whole = pack(tmp_path / "x.tar", files(diode_source))
    if finished:
        make(DIODE, whole, tmp_path / "set")
    else:
        data = whole.read_bytes()
        whole.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError):
            make(DIODE, whole, tmp_path / "set")
        whole.write_bytes(data)
    old, new = CHANGED[option]
    named = "shard_bytes" if option == "shard_size" else option
    with pytest.raises(UsageError, match=f"{named} is {old!r} there, {new!r} now"):
        make(DIODE, whole, tmp_path / "set", **{option: new})
    make(DIODE, whole, tmp_path / "set", workers=2)
    make(DIODE, whole, tmp_path / "plain")
    assert content(tmp_path / "set") == content(tmp_path / "plain")


def test_too_many_bad_samples_are_refused_and_tolerated_later_without_reading(diode_source, tmp_path, monkeypatch):
    members = files(diode_source)
    bad = [name for name, _ in members if name.endswith(".png") and "train/outdoor" in name][:2]
    lost = next(name for name, _ in members if "train/indoors" in name and name.endswith("_mask.npy"))
    members = [(name, bytes(len(data)) if name in bad else data) for name, data in members if name != lost]
    path = pack(tmp_path / "x.tar.gz", members)
    with pytest.raises(DataError, match=r"3 samples are bad, --allow-bad is 0.*finished shards are kept"):
        make(DIODE, path, tmp_path / "set")
    assert not (tmp_path / "set/manifest.json").exists()
    lines = [json.loads(line) for line in (tmp_path / "set/quarantine.jsonl").read_text().splitlines()]
    assert {Path(name).name for line in lines for name in line["files"]} >= {Path(name).name for name in bad}
    assert [line["reason"] for line in lines if lost[:-9] + ".npy" in line["files"]] == ["incomplete: no mask"]
    names, keys = count_reading(monkeypatch), count_encoding(monkeypatch)
    with pytest.raises(DataError, match="3 samples are bad, --allow-bad is 2"):
        make(DIODE, path, tmp_path / "set", allow_bad=2)
    outcome = make(DIODE, path, tmp_path / "set", allow_bad=3)
    assert (names, keys) == ([], [])
    assert (outcome.data["samples"], outcome.data["quarantined"]) == (6, 3)
    make(DIODE, path, tmp_path / "plain", allow_bad=9)
    assert content(tmp_path / "set") == content(tmp_path / "plain")


def test_a_source_name_with_signs_of_a_url_is_told_whole(diode_source, tmp_path):
    path = pack(tmp_path / "a?b#c.tar", files(diode_source))
    assert make(DIODE, path, tmp_path / "set").data["source"]["archive"] == "a?b#c.tar"


def test_what_is_read_ahead_does_not_count_as_done():
    """Up to a hundred megabytes wait for the writer, and a forecast would take them for written."""
    counted = []
    meter = SimpleNamespace(advance=counted.append)
    pairs = [(from_archive._Batch(samples=(), boundary=None, bytes=1, read=read), [read, -read]) for read in (10, 20)]
    results = from_archive._in_order(iter(pairs), meter)
    assert [next(results), list(counted)] == [10, []]
    assert [next(results), list(counted)] == [-10, []]
    assert [next(results), list(counted)] == [20, [10]]
    assert [list(results), counted] == [[-20], [10, 20]]
