import os
import re
import shutil
import subprocess
import sys

import pytest

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from tests.sharding.shard_runs import SHARDS, content, count_encoding, environment, killed_at, make, make_whole


@pytest.fixture
def whole(diode_source, tmp_path):
    return make_whole(diode_source, tmp_path / "whole")


@pytest.fixture
def encoded(monkeypatch):
    return count_encoding(monkeypatch)


@pytest.mark.slow
def test_a_kill_at_every_step_leaves_what_a_second_run_finishes_byte_for_byte(diode_source, whole, tmp_path, encoded):
    steps = 1 + 2 * SHARDS + 2  # the plan, each shard and its line, index, manifest
    for step in [sign * number for number in range(1, steps + 1) for sign in (1, -1)]:
        target = tmp_path / f"set{step}"
        assert killed_at(step, diode_source, target)
        written = abs(step) - (step > 0)
        assert (target / "manifest.json").exists() == (written == steps)
        encoded.clear()
        make(diode_source, target)
        assert content(target) == whole
        assert not (target / ".making").exists()
        finished = min(SHARDS, max(0, (written - 1) // 2))
        assert len(encoded) == sum(shard.samples for shard in ShardSet(target).manifest.shards[finished:]) * (
            written < steps
        )
    assert not killed_at(steps + 1, diode_source, tmp_path / "last")


def test_a_set_that_is_killed_again_and_again_gets_finished(diode_source, whole, tmp_path):
    kills = 0
    while killed_at(5, diode_source, tmp_path / "set"):
        kills += 1
    assert kills >= 2
    assert content(tmp_path / "set") == whole


def damage_shard(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_line(path):
    line = path.parents[1] / ".making" / f"{path.name.partition('.')[0]}.json"
    line.write_bytes(line.read_bytes()[:40])


@pytest.mark.parametrize("damage", [damage_shard, damage_line, os.unlink])
def test_what_is_not_proven_is_made_again_and_nothing_else(diode_source, whole, tmp_path, encoded, damage):
    target = tmp_path / "set"
    assert killed_at(1 + 2 * SHARDS + 1, diode_source, target)
    shards = sorted((target / "shards").iterdir())
    damage(shards[2])
    before = {path: path.stat().st_ino for path in shards if path != shards[2]}
    make(diode_source, target)
    assert content(target) == whole
    assert len(encoded) == ShardSet(target).manifest.shards[2].samples
    assert {path: path.stat().st_ino for path in before} == before


def test_junk_under_the_name_of_a_shard_is_never_taken_for_one(diode_source, whole, tmp_path):
    shards = tmp_path / "set/shards"
    shards.mkdir(parents=True)
    (shards / "diode-train-000001.tar.zst").write_bytes(b"half a shard")
    make(diode_source, tmp_path / "set")
    assert content(tmp_path / "set") == whole


def test_other_options_or_another_source_are_refused_while_the_set_is_unfinished(diode_source, whole, tmp_path):
    target = tmp_path / "set"
    assert killed_at(6, diode_source, target)
    for options, message in (
        ({"preset": "compact"}, "preset is 'exact' there, 'compact' now"),
        ({"seed": 1}, "seed is 0 there, 1 now"),
        ({"shard_size": 5000}, "shard_bytes is 4000 there, 5000 now"),
        ({"compression": "none"}, "compression is 'zstd' there, 'none' now"),
        ({"split": "val"}, "split is 'train' there, 'val' now"),
    ):
        with pytest.raises(UsageError, match=f"unfinished set.*{message}"):
            make(diode_source, target, **options)
    first = sorted(diode_source.glob("train/*/*/*/[0-9]*_010.png"))[1]
    before = first.read_bytes()
    first.write_bytes(before + b"x")
    sizes = f"{first.name} had {len(before)} bytes, and has {len(before) + 1}"
    with pytest.raises(UsageError, match=rf"source is 'files \d+, .*' there, 'files \d+, .*' now, where .*{sizes}"):
        make(diode_source, target)
    first.write_bytes(before)
    make(diode_source, target, workers=2, allow_bad=5, engine="ray")
    assert content(target) == whole


def test_another_version_of_an_encoder_is_refused_while_the_set_is_unfinished(diode_source, tmp_path, monkeypatch):
    target = tmp_path / "set"
    assert killed_at(6, diode_source, target)
    monkeypatch.setattr("sharding.making.plan.encoder_versions", lambda: {"version of zstandard": "0.1"})
    with pytest.raises(UsageError, match=r"version of zstandard is '.*' there, '0.1' now"):
        make(diode_source, target)


def test_before_and_while_it_works_it_says_how_much_and_how_long(diode_source, tmp_path, capsys, monkeypatch):
    assert killed_at(4, diode_source, tmp_path / "set")
    capsys.readouterr()
    monkeypatch.setattr("sharding.progress.LINE_EVERY_S", 0.0)
    make(diode_source, tmp_path / "set")
    said = capsys.readouterr().err
    assert "diode-train: 9 samples, 0.00 GB of source files into 5 shards (1 of them are finished, 4 left); " in said
    assert "GB free" in said
    assert "diode-train: about 0 s to go at " in said
    assert "GB to be written" in said
    assert re.search(r" shard diode-train: 0\.0 of 0\.0 MB \(100 %\), ", said)


def test_a_disk_too_small_for_the_rest_is_said_early(diode_source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sharding.making.target.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    make(diode_source, tmp_path / "set")
    assert "THAT IS NOT ENOUGH" in capsys.readouterr().err


def test_nothing_to_do_imports_nothing_that_encodes_and_reads_no_shard(diode_source, tmp_path):
    make(diode_source, tmp_path / "set")
    for shard in (tmp_path / "set/shards").iterdir():
        shard.write_bytes(b"not read")
    code = "import sys; from sharding.__main__ import *; main('x', '', COMMANDS, sys.argv[1:])\n"
    code += "assert not {'pandas', 'h5py', 'PIL', 'pyarrow'} & set(sys.modules), 'heavy'"
    command = [sys.executable, "-c", code, "shard", "diode", diode_source, tmp_path / "set", "--split", "train"]
    done = subprocess.run(
        [*map(str, command), "--shard-size", "4000"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "nothing to do" in done.stderr
