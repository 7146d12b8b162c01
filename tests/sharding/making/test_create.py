import json

import numpy as np
import pytest

from sharding.config import ShardDiodeConfig, ShardMegadepthConfig
from sharding.errors import DataError, UsageError
from sharding.making.check import check_shard
from sharding.making.create import shard_diode, shard_megadepth
from sharding.making.ledger import Ledger
from sharding.making.target import LocalTarget
from sharding.reading.shard_set import ShardSet


def make(source, target, **options):
    settings = {"split": "train", "workers": 1, "shard_size": 4000} | options
    return shard_diode(ShardDiodeConfig(source=str(source), set=str(target), **settings))


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_set_holds_every_sample_once_bit_exactly(diode_source, tmp_path):
    make(diode_source, tmp_path / "set")
    opened = ShardSet(tmp_path / "set")
    assert len(opened) == 9
    assert len(opened.manifest.shards) > 2
    assert opened.shard_sizes.sum() == 9
    for sample in map(opened.__getitem__, range(9)):
        truth = np.load(next(diode_source.rglob(f"{sample.key}_depth.npy")))[..., 0]
        assert sample.depth.tobytes() == truth.tobytes()


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_the_bytes_do_not_depend_on_workers_or_on_where_the_source_lies(diode_source, tmp_path, compression):
    make(diode_source, tmp_path / "one", compression=compression)
    moved = diode_source.rename(tmp_path / "elsewhere")
    make(moved, tmp_path / "two", compression=compression, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_another_seed_gives_another_order_and_the_same_samples(diode_source, tmp_path):
    for seed in (0, 1):
        make(diode_source, tmp_path / str(seed), seed=seed)
    first, second = (ShardSet(tmp_path / str(seed)) for seed in (0, 1))
    assert list(first.index["key"]) != list(second.index["key"])
    assert sorted(first.index["key"]) == sorted(second.index["key"])
    assert first.manifest.identity != second.manifest.identity


def test_making_a_finished_set_again_changes_nothing_and_other_options_are_refused(diode_source, tmp_path):
    make(diode_source, tmp_path / "set")
    before = content(tmp_path / "set")
    make(diode_source, tmp_path / "set", workers=2, allow_bad=3)
    assert content(tmp_path / "set") == before
    with pytest.raises(UsageError, match="preset is 'exact' there, 'compact' now"):
        make(diode_source, tmp_path / "set", preset="compact")
    next(diode_source.rglob("*_mask.npy")).write_bytes(b"other")
    with pytest.raises(UsageError, match="source is"):
        make(diode_source, tmp_path / "set")


def test_bad_samples_leave_no_manifest_unless_they_are_allowed(diode_source, tmp_path):
    bad = next(diode_source.rglob("train/outdoor/**/*.png"))
    bad.write_bytes(bad.read_bytes()[:100])
    lost = next(diode_source.rglob("train/indoors/**/*_mask.npy"))
    lost.unlink()
    with pytest.raises(DataError, match=r"2 samples are bad, --allow-bad is 0"):
        make(diode_source, tmp_path / "set")
    assert not (tmp_path / "set/manifest.json").exists()
    make(diode_source, tmp_path / "set", allow_bad=2)
    opened = ShardSet(tmp_path / "set")
    lines = [json.loads(line) for line in (tmp_path / "set/quarantine.jsonl").read_text().splitlines()]
    assert {line["key"] for line in lines} == {bad.stem, lost.name.removesuffix("_depth_mask.npy")}
    assert all(line["reason"] for line in lines)
    assert opened.manifest.quarantined == 2
    assert len(opened) == 7


def test_a_bad_sample_leaves_a_hole_and_no_boundary_moves(diode_source, tmp_path):
    make(diode_source, tmp_path / "whole")
    bad = next(diode_source.rglob("train/outdoor/**/*.png"))
    bad.write_bytes(bytes(bad.stat().st_size))  # the same size, no image
    make(diode_source, tmp_path / "hole", allow_bad=1)
    whole, hole = ShardSet(tmp_path / "whole").index, ShardSet(tmp_path / "hole").index
    kept = whole[whole["key"] != bad.stem]
    assert list(zip(kept["key"], kept["shard"], strict=True)) == list(zip(hole["key"], hole["shard"], strict=True))


def test_what_an_interrupted_run_left_is_no_part_of_the_set(diode_source, tmp_path):
    shards = tmp_path / "set/shards"
    shards.mkdir(parents=True)
    (shards / ".diode-train-000001.tar.zst.77.tmp").write_bytes(b"half a shard")
    (shards / "diode-train-000999.tar.zst").write_bytes(b"of a larger plan")
    make(diode_source, tmp_path / "set")
    assert {path.name for path in shards.iterdir()} == set(ShardSet(tmp_path / "set").index["shard"])


def test_the_manifest_states_how_the_set_was_made_and_what_was_measured(diode_source, tmp_path):
    make(diode_source, tmp_path / "set", preset="compact", scene_type="outdoor")
    manifest = ShardSet(tmp_path / "set").manifest
    assert manifest.made["preset"] == "compact"
    assert manifest.made["check"] == "header"
    assert manifest.made["order"] == "shuffled over the whole set"
    assert manifest.made["encodings"] == 2
    assert manifest.codecs["depth"]["samples"] == {"log16.npy": 6}
    assert "valid" not in manifest.codecs
    assert 0 < manifest.codecs["depth"]["max_relative_error"] < 1e-4
    assert str(tmp_path) not in manifest.encode().decode()


def test_exact_states_that_depth_has_no_error(diode_source, tmp_path):
    make(diode_source, tmp_path / "set")
    codecs = ShardSet(tmp_path / "set").manifest.codecs
    assert codecs["depth"] == {"samples": {"planes.npy": 9}, "max_relative_error": 0.0}
    assert codecs["image"] == {"samples": {"rows.npy": 9}}
    assert codecs["valid"] == {"samples": {"pbm": 9}}


def test_another_check_is_another_set_for_it_decides_what_is_refused(diode_source, tmp_path):
    make(diode_source, tmp_path / "set")
    with pytest.raises(UsageError, match="check is 'header' there, 'decode' now"):
        make(diode_source, tmp_path / "set", check="decode")


def test_check_decode_refuses_what_check_header_lets_through(megadepth_source, tmp_path):
    bad = next(megadepth_source.rglob("0001/dense0/imgs/1_a_o.jpg"))
    data = bad.read_bytes()
    at = data.index(b"\xff\xc4") + 5
    bad.write_bytes(data[:at] + b"\xff" * 16 + data[at + 16 :])  # lengths of Huffman codes
    refused = {}
    for check in ("header", "decode"):
        target = tmp_path / check
        options = {"source": str(megadepth_source), "set": str(target), "workers": 1, "allow_bad": 1}
        shard_megadepth(ShardMegadepthConfig(check=check, **options))
        refused[check] = ShardSet(target).manifest.quarantined
    assert refused == {"header": 0, "decode": 1}


def test_megadepth_without_depth_has_images_alone(megadepth_source, tmp_path):
    shard_megadepth(ShardMegadepthConfig(source=str(megadepth_source), set=str(tmp_path / "set"), workers=1))
    opened = ShardSet(tmp_path / "set")
    assert opened[0].depth is None
    assert (opened.index["depth_offset"] == -1).all()
    assert opened[0].image.shape == (12, 16, 3)


@pytest.mark.parametrize("name", ["x.txt", "quarantine.jsonl", "index.parquet", "shards/mine.tar", ".making/x"])
def test_a_folder_with_files_of_somebody_is_refused_and_left_as_it_is(diode_source, tmp_path, name):
    place = tmp_path / "set" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    with pytest.raises(
        UsageError, match=rf"expected a new or empty folder for the set, found {name.partition('/')[0]}"
    ):
        check_shard(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), split="train"))
    assert place.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "left",
    [
        [],
        ["shards"],
        ["shards", ".making"],
        [".making/.plan.json.77.tmp"],
        [".making/plan.json"],
        [".making/waiting"],
        [".making/plan.json", ".making/.nfs01"],
    ],
)
def test_what_a_run_that_was_killed_at_any_moment_leaves_is_no_hindrance(diode_source, tmp_path, left):
    for name in (*left, ".hidden"):
        (tmp_path / "set" / name).mkdir(parents=True)
    check_shard(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), split="train"))


@pytest.mark.parametrize("name", ["shards", ".making"])
def test_a_set_whose_folders_are_links_is_not_written_to(diode_source, tmp_path, name):
    (tmp_path / "set").mkdir()
    (tmp_path / "else").mkdir()
    (tmp_path / "set" / name).symlink_to("../else")
    config = ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), split="train")
    with pytest.raises(UsageError, match=f"set/{name}: expected a folder, found a link; .* make .*/set the link$"):
        check_shard(config)
    (tmp_path / "set/manifest.json").touch()  # nothing is written any more
    check_shard(config)


def test_a_run_that_ends_while_it_begins_again_is_no_hindrance(diode_source, tmp_path, monkeypatch):
    """Another plan replaces a damaged one, in a folder with a shard and a line of it."""
    shard = tmp_path / "set/shards/diode-train-000000.tar.zst"
    (tmp_path / "set/.making").mkdir(parents=True)
    shard.parent.mkdir()
    shard.write_bytes(b"of a plan that is damaged")

    def fail(*_):
        raise KeyboardInterrupt

    for method in ("write", "remove", "clean"):
        for name in ("plan.json", "diode-train-000000.json"):
            (tmp_path / "set/.making" / name).write_bytes(b"{")
        with monkeypatch.context() as patch:
            patch.setattr(LocalTarget, method, fail)
            with pytest.raises(KeyboardInterrupt):
                Ledger(LocalTarget(tmp_path / "set")).open({"seed": 0})
        check_shard(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), split="train"))


@pytest.mark.parametrize("name", ["index.parquet", "shards/diode-train-000001.tar.zst"])
def test_a_finished_set_that_lost_a_file_is_not_up_to_date(diode_source, tmp_path, name):
    make(diode_source, tmp_path / "set")
    (tmp_path / "set" / name).unlink()
    with pytest.raises(DataError, match=rf"set: the set was finished, and {name} is missing: get a whole copy of it"):
        make(diode_source, tmp_path / "set")
