"""A source that changes while a set is made of it, or before the set is finished: no set is a mixture."""

import os
import re
import tarfile

import pytest

from sharding.checking.verify import run as verify
from sharding.config import VerifyConfig
from sharding.errors import DataError, UsageError
from sharding.making.ledger import Ledger
from tests.sharding.shard_runs import SHARDS, content, make


def depths(source):
    return sorted(source.rglob("train/**/*_depth.npy"))


def change(path, seconds=5):
    """Other bytes of the same number, later."""
    data, before = bytearray(path.read_bytes()), path.stat()
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + seconds * 10**9))


@pytest.fixture
def after_line(monkeypatch):
    """A function that has another one called when so many shards are made."""

    def install(number, action):
        original, count = Ledger.write, [0]

        def write(self, entry):
            original(self, entry)
            count[0] += 1
            if count[0] == number:
                action()

        monkeypatch.setattr(Ledger, "write", write)
        return lambda: monkeypatch.setattr(Ledger, "write", original)

    return install


def is_set_of(target, source, tmp_path):
    fresh = tmp_path / "fresh"
    make(source, fresh)
    return content(target) == content(fresh) and verify(VerifyConfig(set=str(target), against=str(source))).ok


@pytest.mark.parametrize("number", [1, 2, SHARDS])
def test_a_file_that_changes_while_the_set_is_made_is_noticed(diode_source, tmp_path, after_line, number):
    """Every depth: of shards that are made, and of those that are not."""
    undo = after_line(number, lambda: [*map(change, depths(diode_source))])
    with pytest.raises(
        DataError, match=r"source changed while the set was made: .*_depth\.npy was modified, .*run the"
    ):
        make(diode_source, tmp_path / "set")
    assert not (tmp_path / "set/manifest.json").exists()
    undo()
    make(diode_source, tmp_path / "set")
    assert is_set_of(tmp_path / "set", diode_source, tmp_path)


def test_a_file_that_gets_another_size_is_named_and_the_set_is_not_continued(diode_source, tmp_path, after_line):
    def grow():
        for path in depths(diode_source):
            path.write_bytes(path.read_bytes() + b"x")

    undo = after_line(1, grow)
    with pytest.raises(
        DataError, match=r"source changed .*_depth\.npy had \d+ bytes, and has \d+; finished shards are"
    ):
        make(diode_source, tmp_path / "set")
    undo()
    with pytest.raises(UsageError, match="unfinished set that was begun with other options or another source"):
        make(diode_source, tmp_path / "set")


def test_shards_of_files_that_changed_before_a_resume_are_made_again(diode_source, tmp_path, after_line, capsys):
    def stop():
        raise KeyboardInterrupt

    undo = after_line(3, stop)
    with pytest.raises(KeyboardInterrupt):
        make(diode_source, tmp_path / "set")
    undo()
    change(depths(diode_source)[0])
    make(diode_source, tmp_path / "set")
    assert is_set_of(tmp_path / "set", diode_source, tmp_path)
    assert re.search(r"\((2|3) of them are finished", capsys.readouterr().err)


def test_a_source_that_was_copied_with_its_times_is_the_same(diode_source, tmp_path, after_line, capsys):
    def stop():
        raise KeyboardInterrupt

    undo = after_line(3, stop)
    with pytest.raises(KeyboardInterrupt):
        make(diode_source, tmp_path / "set")
    undo()
    diode_source.rename(tmp_path / "elsewhere")
    make(tmp_path / "elsewhere", tmp_path / "set")
    assert "(3 of them are finished" in capsys.readouterr().err
    assert is_set_of(tmp_path / "set", tmp_path / "elsewhere", tmp_path)


def test_a_line_of_an_earlier_version_tells_nothing_of_times_and_is_kept(diode_source, tmp_path, after_line, capsys):
    def stop():
        for line in (tmp_path / "set/.making").glob("diode*.json"):
            line.write_text(line.read_text().replace('"read": "', '"read_": "'))
        raise KeyboardInterrupt

    undo = after_line(3, stop)
    with pytest.raises(KeyboardInterrupt):
        make(diode_source, tmp_path / "set")
    undo()
    change(depths(diode_source)[0])
    make(diode_source, tmp_path / "set")
    assert "(3 of them are finished" in capsys.readouterr().err


def test_an_archive_that_is_written_to_meanwhile_is_noticed_and_read_again(diode_source, tmp_path, after_line):
    archive = tmp_path / "train.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(diode_source / "train", "train")

    def overwrite():
        with tarfile.open(archive) as tar:
            member = next(one for one in tar if one.name.endswith("_depth.npy"))
        with archive.open("r+b") as file:
            file.seek(member.offset_data + member.size - 2)
            file.write(b"\x11")
        os.utime(archive, ns=(1, archive.stat().st_mtime_ns + 5 * 10**9))

    undo = after_line(2, overwrite)
    with pytest.raises(DataError, match=r"train\.tar: the archive was written to while the set was made: no manifest"):
        make(archive, tmp_path / "set")
    assert not (tmp_path / "set/manifest.json").exists()
    undo()
    make(archive, tmp_path / "set")
    assert is_set_of(tmp_path / "set", archive, tmp_path)
