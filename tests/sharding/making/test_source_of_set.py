"""Which files of a folder are the source of a set: those of samples, and nothing else that lies there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.checking.verify import run as verify
from sharding.config import ShardDiodeConfig, VerifyConfig
from sharding.errors import DataError, UsageError
from sharding.making.create import shard_diode

ROOT = Path(__file__).parents[3]


@pytest.fixture
def source(diode_source, tmp_path):
    return shutil.copytree(diode_source, tmp_path / "source")


def make(source, target):
    config = ShardDiodeConfig(
        source=str(source), set=str(target), split="train", shard_size=4000, workers=1, allow_bad=5
    )
    return shard_diode(config).data


def shards(target):
    return {path.name: path.read_bytes() for path in Path(target, "shards").iterdir()}


def begin(source, target):
    """Leave an unfinished set: all shards but no manifest, and the ledger of a run that was killed."""
    code = (
        "import os, sys\nfrom sharding.making import from_folder\nfrom sharding.config import ShardDiodeConfig\n"
        "from sharding.making.create import shard_diode\nfrom_folder.finish = lambda *_: os._exit(9)\n"
        "shard_diode(ShardDiodeConfig(source=sys.argv[1], set=sys.argv[2], split='train', shard_size=4000, workers=1, "
        "allow_bad=5))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(target)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 9
    assert (target / ".making").is_dir()


def test_a_set_may_lie_below_its_source(source, tmp_path):
    inside, outside = source / "sets" / "train", tmp_path / "outside"
    begin(source, inside)
    first = make(source, inside)
    assert make(source, inside) == first  # finished: nothing to do
    assert make(source, outside)["identity"] == first["identity"]
    assert shards(inside) == shards(outside)
    assert make(source, outside)["source"]["fingerprint"] == first["source"]["fingerprint"]
    shutil.rmtree(outside)
    checked = verify(VerifyConfig(set=str(inside), against=str(source)))
    assert checked.ok, checked.text


@pytest.mark.parametrize("finished", [False, True])
def test_files_of_no_part_come_and_go(source, tmp_path, finished):
    target = tmp_path / "set"
    make(source, target) if finished else begin(source, target)
    for name in (".DS_Store", "train/.DS_Store", "notes.txt", "train/outdoor/._x.png"):
        (source / name).write_bytes(b"x")
    again = make(source, target)
    assert again["identity"] == make(source, tmp_path / "other")["identity"]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda image: shutil.copy(image, image.with_name(image.name.replace("00", "99", 1))), "is new"),
        (lambda image: [path.unlink() for path in image.parent.glob(f"{image.stem}*")], "gone"),
        (lambda image: image.write_bytes(image.read_bytes() + b"x"), "bytes, and has|another size"),
    ],
    ids=["new", "gone", "other"],
)
def test_the_first_file_that_differs_is_named(source, tmp_path, finished, change, said):
    target = tmp_path / "set"
    make(source, target) if finished else begin(source, target)
    change(sorted(source.glob("train/*/*/*/*_010.png"))[1])
    with pytest.raises(UsageError, match=rf"source is .* there, .* now, where .*({said})"):
        make(source, target)


def test_a_name_that_is_not_utf8_is_named_and_refused(source, tmp_path):
    Path(os.fsdecode(os.fsencode(source / "train") + b"/caf\xe9.png")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"caf.*expected file names in UTF-8"):
        make(source, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_folder_that_cannot_be_read_is_named(source, tmp_path, monkeypatch):
    locked, real = str(source / "train" / "outdoor"), os.scandir

    def scandir(folder):
        if folder == locked:
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=rf"{locked}: expected a folder that can be read: Permission denied"):
        make(source, tmp_path / "set")


@pytest.mark.parametrize("packed", [False, True])
def test_the_bar_of_a_comparison_ends_at_a_hundred(source, tmp_path, packed, monkeypatch, capsys):
    monkeypatch.setattr("sharding.progress.LINE_EVERY_S", 0.0)
    if packed:
        root = shutil.make_archive(str(tmp_path / "train"), "gztar", source)
        shard_diode(ShardDiodeConfig(source=root, set=str(tmp_path / "set"), split="train", workers=1, allow_bad=9))
    else:
        root = str(source)
        make(source, tmp_path / "set")
    capsys.readouterr()
    assert verify(VerifyConfig(set=str(tmp_path / "set"), against=root)).ok
    lines = [line for line in capsys.readouterr().err.splitlines() if " compare: " in line]
    assert "(100 %)" in lines[-1]
