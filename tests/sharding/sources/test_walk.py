"""A folder is listed through its links: nothing is lost, nothing goes in a circle."""

import os
from pathlib import Path

import pytest

from sharding.errors import DataError
from sharding.limits import MAX_WAYS
from sharding.sources.source import SourceFile
from sharding.sources.walk import Walk


def put(path: Path, size: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def listed(root: Path, without: Path | None = None) -> dict[str, int]:
    return {file.name: file.bytes for file in Walk(root.resolve(), without).files()}


def test_files_are_sorted_and_named_from_the_root_on(tmp_path):
    for name, size in [("b/2", 5), ("a/1", 4), ("c", 0)]:
        put(tmp_path / "top" / name, size)
    assert list(listed(tmp_path / "top").items()) == [("top/a/1", 4), ("top/b/2", 5), ("top/c", 0)]


def test_a_linked_folder_is_one_at_the_place_of_its_link(tmp_path):
    put(tmp_path / "top/a")
    put(tmp_path / "disk/outdoor/deep/b", 7)
    (tmp_path / "disk/outdoor/deep/link").symlink_to(tmp_path / "disk/more")
    put(tmp_path / "disk/more/c", 9)
    (tmp_path / "top/outdoor").symlink_to(tmp_path / "disk/outdoor")
    expected = {"top/a": 3, "top/outdoor/deep/b": 7, "top/outdoor/deep/link/c": 9}
    assert listed(tmp_path / "top") == expected


def test_the_size_of_a_link_is_that_of_its_file(tmp_path):
    put(tmp_path / "elsewhere", 1234)
    put(tmp_path / "top/a")
    (tmp_path / "top/b").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "top") == {"top/a": 3, "top/b": 1234}


def test_two_links_to_one_folder_are_two_folders(tmp_path):
    put(tmp_path / "disk/a")
    for name in ("one", "two"):
        (tmp_path / "top").mkdir(exist_ok=True)
        (tmp_path / "top" / name).symlink_to(tmp_path / "disk")
    assert listed(tmp_path / "top") == {"top/one/a": 3, "top/two/a": 3}


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_link_to_a_folder_that_it_is_in_is_named_and_passed_over(tmp_path, capsys, target):
    put(tmp_path / "top/in/a")
    (tmp_path / "top/in/up").symlink_to(target)
    assert listed(tmp_path / "top") == {"top/in/a": 3}
    assert "passed over 1 links to a folder that they are in: top/in/up" in capsys.readouterr().err


def test_circles_through_two_links_end(tmp_path, capsys):
    put(tmp_path / "top/a/1")
    put(tmp_path / "top/b/2")
    (tmp_path / "top/a/other").symlink_to("../b")
    (tmp_path / "top/b/other").symlink_to("../a")
    assert listed(tmp_path / "top") == {
        "top/a/1": 3,
        "top/a/other/2": 3,
        "top/b/2": 3,
        "top/b/other/1": 3,
    }
    assert "2 links to a folder that they are in: top/a/other/other, top/b/other/other" in capsys.readouterr().err


def test_a_circle_outside_the_folder_ends(tmp_path):
    put(tmp_path / "top/a")
    put(tmp_path / "disk/in/b")
    (tmp_path / "top/link").symlink_to(tmp_path / "disk/in")
    (tmp_path / "disk/in/up").symlink_to(tmp_path / "disk")
    # What is above the folder of the link is listed, up to where that folder comes again.
    assert listed(tmp_path / "top") == {"top/a": 3, "top/link/b": 3}


def test_links_that_lead_nowhere_are_listed_as_lost(tmp_path):
    (tmp_path / "top").mkdir()
    for name, target in [("gone", "/nowhere"), ("loop", "loop"), (".#lock", "me@host"), ("inside", "gone/deeper")]:
        (tmp_path / "top" / name).symlink_to(target)
    assert Walk(tmp_path / "top").files() == [
        SourceFile("top/.#lock", 0),  # hidden: of an editor, not of the data
        SourceFile("top/gone", 0, lost=True),
        SourceFile("top/inside", 0, lost=True),
        SourceFile("top/loop", 0, lost=True),
    ]


@pytest.mark.timeout(30)
def test_links_that_double_the_tree_at_each_level_are_refused(tmp_path):
    for level in range(40):
        folder = tmp_path / f"top/{level}"
        folder.mkdir(parents=True)
        for name in "xy":
            (folder / name).symlink_to(f"../{level + 1}")
    put(tmp_path / "top/40/a")
    with pytest.raises(DataError, match=f"expected at most {MAX_WAYS} ways by which links lead to one folder"):
        listed(tmp_path / "top")


def test_the_set_is_left_out_also_behind_a_link(tmp_path):
    put(tmp_path / "top/a")
    put(tmp_path / "top/set/shards/x")
    (tmp_path / "top/link").symlink_to("set")
    assert listed(tmp_path / "top", tmp_path / "top/set") == {"top/a": 3}
    (tmp_path / "alias").symlink_to("top/set")
    assert listed(tmp_path / "top", tmp_path / "alias") == {"top/a": 3}


def test_folders_without_numbers_of_their_own_are_listed(tmp_path, monkeypatch):
    put(tmp_path / "top/a/b/c")
    stat = os.stat

    def without_numbers(path, **options):
        found = stat(path, **options)
        return os.stat_result((found[0], 0, 0, *found[3:10]))

    monkeypatch.setattr(os, "stat", without_numbers)  # as some network file systems answer
    assert listed(tmp_path / "top", tmp_path / "set") == {"top/a/b/c": 3}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
def test_a_linked_folder_that_cannot_be_read_is_an_error(tmp_path):
    put(tmp_path / "disk/a")
    (tmp_path / "top").mkdir()
    (tmp_path / "top/link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk").chmod(0)
    with pytest.raises(DataError, match="expected a folder that can be read: Permission denied"):
        listed(tmp_path / "top")


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_file_is_listed_and_not_opened(tmp_path, kind):
    (tmp_path / "top").mkdir()
    if kind == "fifo":
        os.mkfifo(tmp_path / "top/x")
    else:
        (tmp_path / "top/x").symlink_to("/dev/zero")
    assert listed(tmp_path / "top") == {"top/x": 0}
