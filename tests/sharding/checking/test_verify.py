import json
import os

import pandas as pd
import pytest

from sharding.checking.verify import run
from sharding.config import ShardDiodeConfig, VerifyConfig
from sharding.errors import DataError
from sharding.limits import MAX_INDEX_BYTES, MAX_JSON_BYTES
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet


@pytest.fixture(params=["zstd", "none"])
def made(request, diode_source, tmp_path):
    options = {"split": "train", "shard_size": 4000, "workers": 1, "compression": request.param}
    shard_diode(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), **options))
    return tmp_path / "set"


def verify(folder, **options):
    return run(VerifyConfig(set=str(folder), **options))


def test_a_fresh_set_is_whole(made, diode_source):
    outcome = verify(made, against=str(diode_source))
    assert outcome.ok
    assert outcome.data["faults"] == []


@pytest.mark.parametrize("part", ["image", "depth", "valid", "meta"])
def test_one_flipped_byte_is_found_with_shard_and_key(made, part):
    row = ShardSet(made).index.iloc[4]
    path = made / "shards" / row["shard"]
    data = bytearray(path.read_bytes())
    data[row[f"{part}_offset"] + row[f"{part}_bytes"] // 2] ^= 0xFF
    path.write_bytes(data)
    outcome = verify(made)
    assert not outcome.ok
    assert {fault["shard"] for fault in outcome.data["faults"]} == {row["shard"]}
    assert {fault["key"] for fault in outcome.data["faults"]} - {""} == {row["key"]}
    assert row["key"] in outcome.text


def test_a_flipped_byte_between_members_is_found_by_the_hash(made):
    path = made / "shards" / ShardSet(made).index["shard"].iloc[0]
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes(data)
    assert any("sha256" in fault["problem"] for fault in verify(made).data["faults"])


def test_a_truncated_shard_is_found_with_the_samples_it_lost(made):
    row = ShardSet(made).index.iloc[-1]
    path = made / "shards" / row["shard"]
    path.write_bytes(path.read_bytes()[: row["image_offset"] + 100])
    faults = verify(made).data["faults"]
    assert any(fault["key"] == row["key"] for fault in faults)
    assert any("bytes, found" in fault["problem"] and fault["shard"] == row["shard"] for fault in faults)


def test_a_missing_shard_is_found_with_the_samples_it_held(made):
    index = ShardSet(made).index
    name = index["shard"].iloc[0]
    (made / "shards" / name).unlink()
    faults = verify(made).data["faults"]
    assert {fault["shard"] for fault in faults} == {name}
    assert [fault["key"] for fault in faults] == ["", *index["key"][index["shard"] == name]]


EDITS = {
    "scene_type": "indoors",
    "depth_median": 1.0,
    "image_offset": 1,
    "depth_crc32c": 7,
    "key": "another",
    "width": 9,
}


@pytest.mark.parametrize("column", EDITS)
def test_an_edited_index_is_found_with_shard_and_key(made, column):
    frame = pd.read_parquet(made / "index.parquet")
    row = int((frame["scene_type"] == "outdoor").idxmax())
    frame.loc[row, column] = EDITS[column]
    frame.to_parquet(made / "index.parquet", index=False)
    faults = verify(made).data["faults"]
    assert faults[0]["problem"].startswith("index.parquet: expected sha256")
    named = {(fault["shard"], fault["key"]) for fault in faults if fault["key"]}
    if not (column == "key" and (made / "shards" / frame["shard"][row]).suffix == ".tar"):
        assert named == {(frame["shard"][row], frame["key"][row])}
    else:  # a plain tar is read by offset; the walk through the tar tells the name
        assert any("another" in fault["problem"] for fault in faults)


def test_training_refuses_an_edited_index(made):
    frame = pd.read_parquet(made / "index.parquet")
    frame.drop(index=3).to_parquet(made / "index.parquet", index=False)
    with pytest.raises(DataError, match=r"index\.parquet: expected sha256"):
        ShardSet(made)


def test_an_edited_manifest_is_refused(made):
    path = made / "manifest.json"
    path.write_text(path.read_text().replace('"samples": 9', '"samples": 8'))
    with pytest.raises(DataError, match="edited or damaged"):
        verify(made)


def test_no_manifest_no_set(made):
    (made / "manifest.json").unlink()
    with pytest.raises(DataError, match="finished when its manifest"):
        verify(made)


def test_a_stray_shard_is_named(made):
    (made / "shards/diode-train-000777.tar").write_bytes(b"")
    assert [fault["shard"] for fault in verify(made).data["faults"]] == ["diode-train-000777.tar"]


def test_against_tells_a_source_that_changed_after_the_set_was_made(made, diode_source):
    path = next(diode_source.rglob("train/outdoor/**/*_depth.npy"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    (fault,) = verify(made, against=str(diode_source)).data["faults"]
    assert fault["key"] == path.name.removesuffix("_depth.npy")
    assert fault["problem"] == "depth differ from the source"


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


EDITS_OF_MANIFEST = {
    "a shard twice": (
        lambda content: content.update(
            shards=content["shards"] + content["shards"][:1],
            samples=content["samples"] + content["shards"][0]["samples"],
        ),
        r"shards: expected each shard once, found shards/diode-train-000000\.tar(\.zst)? twice",
    ),
    "too many samples": (lambda content: content.update(samples=99), "samples: expected 9, .* found 99: it was edited"),
    "too many samples in a shard": (
        lambda content: (
            content.update(samples=10),
            content["shards"][0].update(samples=content["shards"][0]["samples"] + 1),
        ),
        r"index\.parquet: expected 10 rows, as many as the manifest has samples, found 9",
    ),
    "null": (lambda content: content["shards"][0].update(compression=None), r"shards\[0\]\.compression: .* found null"),
    "list": (lambda content: content["shards"][0].update(compression=[]), r"shards\[0\]\.compression: .* a list of 0"),
    "a device": (lambda content: content["shards"][0].update(name="/dev/zero"), r'shards\[0\]\.name: .* "/dev/zero"'),
}


@pytest.mark.parametrize("edit", EDITS_OF_MANIFEST)
def test_a_manifest_that_contradicts_itself_or_the_index_is_refused(made, edit):
    change, said = EDITS_OF_MANIFEST[edit]
    edit_manifest(made, change)
    with pytest.raises(DataError, match=said):
        verify(made)


def test_samples_of_two_shards_that_were_exchanged_are_found(made):
    def exchange(content):
        content["shards"][0]["samples"] += 1
        content["shards"][1]["samples"] -= 1

    edit_manifest(made, exchange)
    problems = {fault["shard"]: fault["problem"] for fault in verify(made).data["faults"]}
    assert [problem.partition(" as in")[0] for problem in problems.values()] == [
        f"expected {one['samples']} samples" for one in json.loads((made / "manifest.json").read_text())["shards"][:2]
    ]


def test_another_compression_in_the_manifest_is_found(made):
    other = {"none": "zstd", "zstd": "none"}
    found = ShardSet(made).manifest.shards[0].compression
    edit_manifest(made, lambda content: content["shards"][0].update(compression=other[found]))
    problems = [fault["problem"] for fault in verify(made).data["faults"] if not fault["key"]]
    assert f"expected compression {other[found]} as in the manifest, found {found}" in problems


def test_a_manifest_or_an_index_beyond_the_limits_is_not_read(made):
    for name, limit in (("index.parquet", MAX_INDEX_BYTES), ("manifest.json", MAX_JSON_BYTES)):
        os.truncate(made / name, limit + 1)  # sparse
        with pytest.raises(DataError, match=rf"{name}: found {limit + 1} bytes; at most {limit} are read"):
            verify(made)


def test_a_set_without_its_index_is_refused(made):
    (made / "index.parquet").unlink()
    with pytest.raises(DataError, match=r"index\.parquet: expected a file, found none"):
        verify(made)
