"""Folders in which not everything is a file: what cannot be read is refused by name, what is linked is in the set."""

import json
import os
import socket
import subprocess
import sys

import pytest

from sharding.checking.verify import run as verify
from sharding.config import VerifyConfig
from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from tests.sharding.shard_runs import content, environment, make


def test_what_is_no_file_is_in_quarantine_and_the_rest_in_the_set(diode_source, tmp_path, monkeypatch):
    images = sorted((diode_source / "train/outdoor").rglob("0*.png"))
    for path in images[:4]:
        path.unlink()
    os.mkfifo(images[0])
    monkeypatch.chdir(images[1].parent)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(images[1].name)
    images[2].symlink_to("/dev/zero")
    with images[3].open("wb") as file:
        file.truncate(20 << 30)
    monkeypatch.chdir(tmp_path)
    # A process of its own, under a limit of memory and time: it must not block, nor read a device to its end.
    command = [sys.executable, "-m", "sharding", "shard", "diode", diode_source, "set", "--split", "train"]
    limited = ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "bash", *command, "--workers", "1", "--allow-bad", "4"]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "set/quarantine.jsonl").read_text().splitlines()]
    assert {line["key"]: line["reason"].partition("; ")[0] for line in lines} == {
        images[0].stem: "expected a readable file: it is a FIFO (named pipe), not a file",
        images[1].stem: "expected a readable file: it is a socket, not a file",
        images[2].stem: "expected a readable file: it is a device, not a file",
        images[3].stem: "expected a readable file: found 21474836480 bytes",
    }
    assert len(ShardSet(tmp_path / "set")) == 9 - 4
    assert verify(VerifyConfig(set=str(tmp_path / "set"), against=str(diode_source))).ok


def test_a_tree_of_links_makes_the_set_of_its_files(diode_source, tmp_path):
    make(diode_source, tmp_path / "plain")
    moved = tmp_path / "disk/outdoor"
    moved.parent.mkdir()
    (diode_source / "train/outdoor").rename(moved)
    (diode_source / "train/outdoor").symlink_to(moved)
    for path in list(moved.rglob("*_mask.npy")):
        path.rename(moved.parent / path.name)
        path.symlink_to(moved.parent / path.name)
    make(diode_source, tmp_path / "linked")
    assert content(tmp_path / "linked") == content(tmp_path / "plain")
    assert verify(VerifyConfig(set=str(tmp_path / "plain"), against=str(diode_source))).ok


def test_a_file_behind_a_link_that_changes_its_size_is_another_source(diode_source, tmp_path):
    image = min((diode_source / "train").rglob("0*.png"))
    image.rename(tmp_path / "image")
    image.symlink_to(tmp_path / "image")
    make(diode_source, tmp_path / "set")
    with (tmp_path / "image").open("ab") as file:
        file.write(bytes(10))
    found = verify(VerifyConfig(set=str(tmp_path / "set"), against=str(diode_source)))
    assert "is not the source this set was made from: its names, sizes or ends differ" in found.text


def test_a_disk_that_is_not_mounted_is_refused_by_name(diode_source, tmp_path):
    (diode_source / "train/outdoor").rename(tmp_path / "outdoor")
    (diode_source / "train/outdoor").symlink_to("/mnt/nothing/outdoor")
    (diode_source / ".#lock").symlink_to("me@host")  # of an editor: no reason to stop
    with pytest.raises(DataError, match=r"1 samples are bad.* 1 x a link that leads nowhere"):
        make(diode_source, tmp_path / "set")
    make(diode_source, tmp_path / "set", allow_bad=1)
    (line,) = (tmp_path / "set/quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["files"] == ["diode/train/outdoor"]
    assert verify(VerifyConfig(set=str(tmp_path / "set"), against=str(diode_source))).ok


def test_two_links_to_one_folder_are_refused_as_one_key_twice(diode_source, tmp_path):
    (tmp_path / "copy").symlink_to(diode_source / "train")
    (diode_source / "more").mkdir()
    (diode_source / "more/train").symlink_to(tmp_path / "copy")
    with pytest.raises(DataError, match=r"9 samples are bad.* 9 x several source files lead to this key"):
        make(diode_source, tmp_path / "set")


def test_a_shard_that_is_no_file_is_named(diode_source, tmp_path):
    make(diode_source, tmp_path / "set")
    shard = min((tmp_path / "set/shards").iterdir())
    shard.unlink()
    os.mkfifo(shard)
    opened = ShardSet(tmp_path / "set")
    row = list(opened.index["shard"]).index(shard.name)
    with pytest.raises(DataError, match=rf"{shard.name}.*: expected a readable file: it is a FIFO \(named pipe\)"):
        opened[row]
    found = verify(VerifyConfig(set=str(tmp_path / "set")))
    assert not found.ok
    assert f"{shard.name}: expected a readable file: it is a FIFO (named pipe), not a file" in found.text


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["manifest.json", "index.parquet"])
def test_a_manifest_or_an_index_that_is_no_file_is_named(diode_source, tmp_path, name):
    make(diode_source, tmp_path / "set")
    (tmp_path / "set" / name).unlink()
    os.mkfifo(tmp_path / "set" / name)
    with pytest.raises(DataError, match=name):
        ShardSet(tmp_path / "set")
