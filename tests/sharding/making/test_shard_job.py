import pytest

import sharding.making.packing
from sharding.errors import DataError
from tests.sharding.shard_runs import break_image, content, count_encoding, make, make_until, make_whole


@pytest.fixture
def whole(diode_source, tmp_path):
    return make_whole(diode_source, tmp_path / "whole")


@pytest.fixture
def encoded(monkeypatch):
    return count_encoding(monkeypatch)


def test_too_many_bad_samples_keep_all_work_and_a_larger_budget_needs_no_encoding(diode_source, tmp_path, encoded):
    images = sorted(diode_source.rglob("train/outdoor/**/*.png"))
    for path in images[:2]:
        break_image(path)
    with pytest.raises(DataError, match=r"2 samples are bad, --allow-bad is 0.*finished shards are kept"):
        make(diode_source, tmp_path / "set")
    assert len(encoded) == 9
    assert not (tmp_path / "set/manifest.json").exists()
    lines = (tmp_path / "set/quarantine.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"2 samples are bad, --allow-bad is 1"):
        make(diode_source, tmp_path / "set", allow_bad=1)
    make(diode_source, tmp_path / "set", allow_bad=2)
    assert len(encoded) == 9
    assert (tmp_path / "set/quarantine.jsonl").read_bytes() == lines
    make(diode_source, tmp_path / "direct", allow_bad=2)
    assert content(tmp_path / "set") == content(tmp_path / "direct")


def test_a_bad_file_that_was_mended_since_gets_another_look(diode_source, whole, tmp_path, encoded):
    path = sorted(diode_source.rglob("train/outdoor/**/*.png"))[0]
    good = path.read_bytes()
    break_image(path)
    with pytest.raises(DataError, match="1 samples are bad"):
        make(diode_source, tmp_path / "set")
    encoded.clear()
    path.write_bytes(good)
    make(diode_source, tmp_path / "set")
    assert path.stem in encoded
    assert len(encoded) < 5
    assert content(tmp_path / "set") == whole


@pytest.mark.parametrize("files", ["*", "*.png", "*_mask.npy"])
def test_a_source_that_goes_away_is_not_a_heap_of_bad_samples(diode_source, whole, tmp_path, monkeypatch, files):
    target, away, encode = tmp_path / "set", tmp_path / "away", sharding.making.packing.encode
    moved = []

    def move_first(source, candidate, recipe):
        if not moved and len(list(target.glob(".making/diode*.json"))) == 2:
            away.mkdir()
            for number, path in enumerate(sorted(diode_source.rglob(files))):
                if path.is_file():
                    moved.append((path.rename(away / str(number)), path))
        return encode(source, candidate, recipe)

    with monkeypatch.context() as patch:
        patch.setattr(sharding.making.packing, "encode", move_first)
        with pytest.raises(DataError, match=r"source can no longer be read.*finished shards are kept"):
            make(diode_source, target)
    assert not (target / "quarantine.jsonl").exists()
    for there, path in moved:
        there.rename(path)
    make(diode_source, target)
    assert content(target) == whole


def test_a_source_folder_that_goes_away_between_shards_is_said(diode_source, whole, tmp_path):
    target, away = tmp_path / "set", tmp_path / "away"
    with pytest.raises(DataError, match=r"source can no longer be read.*finished shards are kept"):
        make_until(6, diode_source, target, lambda: diode_source.rename(away))
    away.rename(diode_source)
    make(diode_source, target)
    assert content(target) == whole


def test_a_link_that_leads_nowhere_is_a_bad_sample(diode_source, tmp_path):
    path = next(diode_source.rglob("train/outdoor/**/*.png"))
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(DataError, match=r"1 samples are bad.*No such file"):
        make(diode_source, tmp_path / "set")


def test_a_first_bad_sample_too_many_is_said_while_it_works(diode_source, tmp_path, capsys):
    break_image(next(diode_source.rglob("train/outdoor/**/*.png")))
    with pytest.raises(DataError):
        make(diode_source, tmp_path / "set")
    assert capsys.readouterr().err.count("1 bad samples so far, --allow-bad is 0") == 1
