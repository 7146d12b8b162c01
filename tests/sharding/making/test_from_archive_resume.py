"""Making a set from an archive, cut short at any step, and going on."""

import errno
import os
import random
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from sharding.errors import DataError, UsageError
from sharding.making import from_archive
from sharding.making.ledger import Ledger
from sharding.making.target import LocalTarget
from tests.sharding.conftest import add_megadepth
from tests.sharding.shard_runs import content, count_encoding
from tests.sharding.toy_archives import (
    MEGADEPTH,
    at_replacement,
    count_reading,
    files,
    finish,
    identities,
    images_first,
    killed_at,
    make,
    pack,
    shrink,
    shuffled,
)

WAITING = {"HELD_BYTES": 3000, "SPAN_BYTES": 6000, "BATCH_BYTES": 1000}
"""So that images of the tiny tree wait for their depth in memory, and on disk, over the ends of several shards."""


@pytest.fixture(autouse=True)
def _archives_are_small(monkeypatch):
    monkeypatch.setattr("sharding.archives.fingerprint.SAMPLE_BYTES", 1000)


@pytest.fixture
def archive(megadepth_source, tmp_path, monkeypatch):
    """MegaDepth with all depth maps behind all images, and the content of its set, made without disturbance."""
    shrink(monkeypatch, **WAITING)
    path = pack(tmp_path / "x.tar", images_first(files(megadepth_source)))
    make(MEGADEPTH, path, tmp_path / "whole")
    return path, content(tmp_path / "whole")


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_replacement_of_a_file_it_goes_on(archive, tmp_path, monkeypatch, stride):
    path, whole = archive
    names = count_reading(monkeypatch)
    step, on_disk, in_memory = 2, 0, 0
    while killed_at(step, MEGADEPTH, path, tmp_path / f"{step}") and killed_at(-step, MEGADEPTH, path, tmp_path / "b"):
        for target in (tmp_path / f"{step}", tmp_path / "b"):
            position = Ledger(LocalTarget(target)).read_resume_point()
            kept = {file.name for waiting in position.waiting for file, _ in waiting.kept}
            names.clear()
            finish(MEGADEPTH, path, target, whole)
            assert not kept & set(names)
            assert position.held <= set(names)
            if not position.ended:
                on_disk, in_memory = max(on_disk, len(kept)), max(in_memory, len(position.held))
        shutil.rmtree(tmp_path / "b")
        step += stride
    assert step > 12
    assert on_disk >= 4
    assert in_memory >= 1


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(archive, tmp_path):
    path, whole = archive
    runs = 0
    while killed_at(3, MEGADEPTH, path, tmp_path / "set"):
        runs += 1
    assert runs >= 4
    assert content(tmp_path / "set") == whole


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["bytes", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cut", "gone"))])
def test_what_waited_on_disk_and_is_damaged_or_lost_is_read_again(archive, tmp_path, monkeypatch, damage):
    path, whole = archive
    step = 3
    while killed_at(step, MEGADEPTH, path, tmp_path / f"{step}"):
        target, step = tmp_path / f"{step}", step + 4
        position, kept = Ledger(LocalTarget(target)).read_resume_point(), identities(target)
        for segment in position.segments:
            waiting = target / ".making/waiting" / segment
            data = bytearray(waiting.read_bytes())
            data[len(data) // 2] ^= 1
            waiting.write_bytes(data if damage == "bytes" else data[:-1])
            if damage == "gone":
                waiting.unlink()
        make(MEGADEPTH, path, target)
        assert content(target) == whole
        assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept} == kept
    assert step > 12


@pytest.mark.parametrize("damage", [os.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")])
def test_only_a_lost_or_damaged_shard_is_made_again(archive, tmp_path, monkeypatch, damage):
    path, whole = archive
    target = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr("sharding.making.finish.finish", stop)
        with pytest.raises(KeyboardInterrupt):
            make(MEGADEPTH, path, target)
    before = identities(target)
    lost = sorted(before)[1]
    damage(lost)
    keys = count_encoding(monkeypatch)
    make(MEGADEPTH, path, target)
    assert content(target) == whole
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before if path != lost} == {
        path: was for path, was in before.items() if path != lost
    }
    assert 0 < len(keys) < 4


def stop(*_):
    raise KeyboardInterrupt


def test_files_on_disk_stay_until_no_boundary_that_is_still_to_be_saved_needs_them(archive, tmp_path, monkeypatch):
    """Reading far ahead of a slow writer: what waits is taken long before the position that names it is saved."""
    path, whole = archive
    monkeypatch.setattr("sharding.sources.spool.SEGMENT_BYTES", 1)  # a file each
    pack_all = from_archive.pack_all
    monkeypatch.setattr(from_archive, "pack_all", lambda *all: (time.sleep(0.05), pack_all(*all))[1])
    missing = []
    write = Ledger.write_resume_point

    def checking(self, position):
        write(self, position)
        missing.extend(name for name in position.segments if not (tmp_path / "set/.making/waiting" / name).exists())

    monkeypatch.setattr(Ledger, "write_resume_point", checking)
    make(MEGADEPTH, path, tmp_path / "set")
    assert missing == []
    assert content(tmp_path / "set") == whole


def test_a_saved_position_names_only_what_a_power_cut_leaves(archive, tmp_path, monkeypatch):
    path, _ = archive
    monkeypatch.setattr("sharding.sources.spool.SEGMENT_BYTES", 2000)
    synced, fsync, write, checked = {}, os.fsync, Ledger.write_resume_point, 0

    def syncing(number):
        fsync(number)
        synced[os.fstat(number).st_ino] = os.fstat(number).st_size

    def checking(self, position):
        nonlocal checked
        for place in (place for waiting in position.waiting for _, place in waiting.kept):
            assert (
                place.offset + place.bytes <= synced[(tmp_path / "set/.making/waiting" / place.segment).stat().st_ino]
            )
            checked += 1
        write(self, position)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Ledger, "write_resume_point", checking)
    make(MEGADEPTH, path, tmp_path / "set")
    assert checked > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_any_archive_within_any_bounds_killed_anywhere_gives_the_same_bytes(tmp_path, monkeypatch, seed):
    """Also with duplicates, contradictions, lonely files and misnamed ones."""
    draw = random.Random(seed)
    for number in range(14):
        add_megadepth(tmp_path / "md", f"000{number % 3}/dense0/{number}_o.jpg", np.arange(192.0).reshape(12, 16))
    members = files(tmp_path / "md")
    members += [
        (name.replace(".jpg", ".png"), data) for name, data in members if name.endswith(("/3_o.jpg", "/7_o.jpg"))
    ]
    members += [(f"MegaDepth_v1/0001/dense0/imgs/{'x' * 150}.jpg", b"x"), ("MegaDepth_v1/readme", bytes(3000))]
    members += [("MegaDepth_v1/0002/dense0/depths/lonely.h5", b"x"), draw.choice(members)]
    members = shuffled(members, seed)
    if draw.random() < 0.5:
        members = images_first(members)
    shrink(
        monkeypatch,
        SPAN_BYTES=draw.choice([2000, 6000, 20_000, 1 << 30]),
        HELD_BYTES=draw.choice([0, 1000, 3000, 10_000, 1 << 30]),
        BATCH_BYTES=draw.choice([500, 3000, 1 << 20]),
        ENCODED_AHEAD_BYTES=draw.choice([500, 5000, 1 << 20]),
    )
    monkeypatch.setattr("sharding.sources.spool.SEGMENT_BYTES", draw.choice([1, 3000, 1 << 20]))
    config = replace(MEGADEPTH, shard_size=draw.choice([2000, 5000, 12_000]), allow_bad=99)
    path = pack(tmp_path / f"x{draw.choice(['.tar', '.tar.gz', '.tar.zst'])}", members)
    make(config, path, tmp_path / "whole")
    for _ in range(draw.randrange(1, 4)):
        killed_at(draw.choice([1, -1]) * draw.randrange(1, 25), config, path, tmp_path / "set")
    make(config, path, tmp_path / "set")
    assert content(tmp_path / "set") == content(tmp_path / "whole")


def test_a_stretch_without_samples_is_not_read_again(tmp_path, megadepth_source, monkeypatch):
    """No shard is finished yet when the run is killed, but a position is saved."""
    shrink(monkeypatch, HELD_BYTES=100, SPAN_BYTES=1000)
    path = pack(tmp_path / "x.tar", images_first(files(megadepth_source)))
    make(MEGADEPTH, path, tmp_path / "whole")
    assert killed_at(-4, MEGADEPTH, path, tmp_path / "set")
    position = Ledger(LocalTarget(tmp_path / "set")).read_resume_point()
    assert position.offset > 0
    assert not Ledger(LocalTarget(tmp_path / "set")).has_lines()
    names = count_reading(monkeypatch)
    with pytest.raises(UsageError, match="preset is 'exact' there, 'compact' now"):
        make(MEGADEPTH, path, tmp_path / "set", preset="compact")
    make(MEGADEPTH, path, tmp_path / "set")
    kept = {file.name for waiting in position.waiting for file, _ in waiting.kept}
    assert kept
    assert not kept & set(names)
    assert content(tmp_path / "set") == content(tmp_path / "whole")


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_at_any_replacement_is_said_and_the_set_resumed(archive, tmp_path, stride):
    path, whole = archive
    for step in range(1, 100, stride):
        patch = at_replacement(step, no_space)
        try:
            make(MEGADEPTH, path, tmp_path / f"{step}")
            break
        except DataError as error:
            said = str(error)
        finally:
            patch.undo()
        assert "No space left on device; finished shards are kept: make room" in said
        assert not list(tmp_path.rglob("*.tmp"))
        finish(MEGADEPTH, path, tmp_path / f"{step}", whole)
    assert step > 12


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_disk_that_is_full_when_files_have_to_wait_is_said_as_well(archive, tmp_path, monkeypatch, number):
    path, whole = archive
    count, pwrite = 0, os.pwrite

    def failing(*arguments):
        nonlocal count
        count += 1
        if count == number:
            no_space()
        return pwrite(*arguments)

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(DataError, match="No space left on device; finished shards are kept: make room"):
        make(MEGADEPTH, path, tmp_path / "set")
    monkeypatch.setattr(os, "pwrite", pwrite)
    finish(MEGADEPTH, path, tmp_path / "set", whole)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
