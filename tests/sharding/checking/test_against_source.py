"""A set against the folder or the archive it was made from."""

import json
import tarfile

import pytest

from sharding.checking.verify import run
from sharding.config import ShardDiodeConfig, ShardMegadepthConfig, VerifyConfig
from sharding.errors import DataError, UsageError
from sharding.making import create
from sharding.making.create import shard_diode, shard_megadepth
from tests.sharding.conftest import add_diode, photo
from tests.sharding.shard_runs import break_image


def verify(folder, source):
    return run(VerifyConfig(set=str(folder), against=str(source)))


def problems(outcome):
    return {fault["key"]: fault["problem"] for fault in outcome.data["faults"]}


def pack(root, names, path, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name in names:
            tar.add(root / name, name)
    return path


@pytest.fixture
def archive(diode_source, tmp_path):
    return pack(diode_source, ["train", "val"], tmp_path / "diode.tar.gz")


def make(source, target, **options):
    shard_diode(ShardDiodeConfig(source=str(source), set=str(target), split="train", workers=1, **options))
    return target


@pytest.mark.parametrize("preset", ["exact", "compact"])
def test_folder_and_archive_each_prove_a_set_that_was_made_from_either(diode_source, archive, tmp_path, preset):
    for number, made_from in enumerate((diode_source, archive)):
        target = make(made_from, tmp_path / str(number), preset=preset)
        for source in (diode_source, archive):
            outcome = verify(target, source)
            assert outcome.data["faults"] == []
            assert outcome.data["against"] == {"samples": 9, "quarantined": 0}
            assert f"equal to {source}: 9 samples are in it" in outcome.text


@pytest.mark.parametrize("preset", ["exact", "compact"])
def test_a_set_of_the_first_encodings_is_proved_by_these(diode_source, tmp_path, preset, monkeypatch):
    monkeypatch.setattr(create, "ENCODINGS", 1)
    target = make(diode_source, tmp_path / "set", preset=preset)
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest["codecs"]["valid"] == {"samples": {"npy": 9}}
    assert manifest["made"].pop("encodings") == 1  # as versions before it was recorded
    (target / "manifest.json").write_text(json.dumps(manifest))
    assert verify(target, diode_source).data["faults"] == []


@pytest.mark.parametrize("with_depth", [False, True])
def test_a_megadepth_set_is_proved_by_its_archive(megadepth_source, tmp_path, with_depth):
    path = pack(megadepth_source, ["MegaDepth_v1"], tmp_path / "MegaDepth_v1.tar.gz")
    options = {"set": str(tmp_path / "set"), "with_depth": with_depth, "workers": 1}
    shard_megadepth(ShardMegadepthConfig(source=str(path), **options))
    assert verify(tmp_path / "set", path).data["against"] == {"samples": 8, "quarantined": 0}
    assert verify(tmp_path / "set", megadepth_source).ok


def test_what_is_bad_in_the_source_must_be_in_quarantine(diode_source, tmp_path):
    images = sorted(diode_source.rglob("train/outdoor/**/*.png"))
    break_image(images[0])
    images[1].with_name(images[1].stem + "_depth.npy").unlink()
    archive = pack(diode_source, ["train"], tmp_path / "train.tar.gz")
    target = make(archive, tmp_path / "set", allow_bad=2)
    for source in (archive, diode_source):
        outcome = verify(target, source)
        assert outcome.data["faults"] == []
        assert outcome.data["against"] == {"samples": 7, "quarantined": 2}
        assert "7 samples are in it, 2 in quarantine" in outcome.text
    lines = (target / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["key"] for line in lines} == {images[0].stem, images[1].stem}
    (target / "quarantine.jsonl").unlink()
    found = problems(verify(target, archive))
    assert found.keys() == {images[0].stem, images[1].stem}
    assert found[images[1].stem] == "bad in the source, and not in quarantine: incomplete: no depth"


def test_a_sample_more_or_less_is_named(diode_source, tmp_path):
    before = pack(diode_source, ["train"], tmp_path / "train.tar.gz")
    target = make(before, tmp_path / "set")
    new = add_diode(diode_source, "train", "outdoor", 3, 9)
    gone = next(diode_source.rglob("train/indoors/**/*_020_010.png"))
    for path in gone.parent.glob(gone.stem + "*"):
        path.unlink()
    after = pack(diode_source, ["train"], tmp_path / "after.tar.gz")
    found = problems(verify(target, after))
    assert "not the source this set was made from" in found.pop("")
    assert found == {new.stem: "in the source, not in the set", gone.stem: f"in the set, not in {after}"}


def test_one_changed_pixel_in_the_archive_is_found(diode_source, tmp_path):
    from PIL import Image

    target = make(diode_source, tmp_path / "set")
    path = next(diode_source.rglob("train/outdoor/**/*.png"))
    pixels = photo(12, 16)
    pixels[:] = Image.open(path)
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(path)
    found = problems(verify(target, pack(diode_source, ["train"], tmp_path / "train.tar.gz")))
    assert found == {path.stem: "image differ from the source"}


def test_a_second_image_that_comes_too_late_is_no_fault(megadepth_source, tmp_path):
    base = megadepth_source / "MegaDepth_v1"
    names = [path.relative_to(base.parent) for path in sorted(base.rglob("*.jpg"))]
    other = names[0].with_suffix(".png")
    (base.parent / other).write_bytes((base.parent / names[0]).read_bytes())
    path = pack(megadepth_source, [*names, other], tmp_path / "MegaDepth_v1.tar")
    options = {"set": str(tmp_path / "set"), "workers": 1, "allow_bad": 1}
    shard_megadepth(ShardMegadepthConfig(source=str(path), **options))
    assert verify(tmp_path / "set", path).data["faults"] == []


def test_the_wrong_archive_a_damaged_one_and_none_are_errors(diode_source, archive, megadepth_source, tmp_path):
    target = make(diode_source, tmp_path / "set")
    with pytest.raises(DataError, match="expected DIODE's train/"):
        verify(target, pack(megadepth_source, ["MegaDepth_v1"], tmp_path / "MegaDepth_v1.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r"diode\.tar\.gz"):
        verify(target, archive)
    with pytest.raises(DataError, match="found nothing"):
        verify(target, tmp_path / "nowhere.tar.gz")


def test_a_set_of_foreign_tars_has_no_source(tmp_path):
    from sharding.config import IndexConfig
    from sharding.making.index_tars import run as index

    (tmp_path / "tars").mkdir()
    photo_path = tmp_path / "a.jpg"
    from PIL import Image

    Image.fromarray(photo(12, 16)).save(photo_path)
    with tarfile.open(tmp_path / "tars/x.tar", "w") as tar:
        tar.add(photo_path, "a.jpg")
    index(IndexConfig(tars=str(tmp_path / "tars"), set=str(tmp_path / "set")))
    with pytest.raises(UsageError, match="this one is webdataset"):
        verify(tmp_path / "set", tmp_path)
