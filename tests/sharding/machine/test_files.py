"""Files that a user names, and what may be where they shall be: a device or a pipe is never replaced."""

import errno
import os
import socket

import pytest

from sharding.errors import UsageError
from sharding.machine.files import check_kind, check_writable, open_atomically, write_atomically, write_through_links


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the whole path may be longer than that of a socket can be
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)
    os.chdir(here)


ODD = {"a FIFO": make_pipe, "a socket": make_socket, "Is a directory": lambda path: path.mkdir()}


@pytest.mark.parametrize("found", ODD)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_not_replaced(tmp_path, found, linked):
    place, named = tmp_path / "place", tmp_path / "named"
    ODD[found](place)
    named.symlink_to("place")
    before = os.lstat(place)
    with pytest.raises(UsageError, match=rf"--grid {tmp_path}/(place|named): expected a file: .*{found}.*; give anoth"):
        check_writable(named if linked else place, "--grid", folder=False)
    with pytest.raises(OSError, match=found):
        write_through_links(named if linked else place, b"new")
    with pytest.raises(OSError, match=found):
        write_atomically(place, b"new")
    assert (os.lstat(place).st_ino, sorted(os.listdir(tmp_path))) == (before.st_ino, ["named", "place"])


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_a_user_names_by_a_link_is_the_one_it_leads_to(tmp_path, there):
    (tmp_path / "far").mkdir()
    link, file = tmp_path / "latest.png", tmp_path / "far/x.png"
    link.symlink_to("far/x.png")
    if there:
        file.write_bytes(b"old")
    check_writable(link, "--grid", folder=False)
    write_through_links(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"


def test_a_link_in_a_folder_of_ours_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "metrics.json").symlink_to("theirs")
    write_atomically(tmp_path / "metrics.json", b"ours")
    assert (tmp_path / "metrics.json").read_bytes() == b"ours"
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    def fail():
        with open_atomically(tmp_path / "x") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("path", "folder", "problem"),
    [
        ("file/x", True, "expected a folder, found a file at .*/file$"),
        ("file", True, "expected a folder, found a file at .*/file$"),
        ("file/x.png", False, "expected a folder, found a file at .*/file$"),
        ("dir", False, "expected a file: Is a directory"),
    ],
)
def test_where_nothing_can_be_written_is_named(tmp_path, path, folder, problem):
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    with pytest.raises(UsageError, match=problem):
        check_writable(tmp_path / path, "--out", folder=folder)


@pytest.mark.parametrize("folder", [True, False])
def test_a_folder_that_only_seems_writable_is_found_by_trying(folder):
    with pytest.raises(UsageError, match="--out /proc/none/here: /proc cannot be written to: "):
        check_writable("/proc/none/here", "--out", folder=folder)


def test_trying_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a/b", "--out", folder=True)
    check_writable(tmp_path / "a.png", "--out", folder=False)
    assert os.listdir(tmp_path) == []


def test_a_temporary_file_is_never_a_link_that_is_there(tmp_path, monkeypatch):
    (tmp_path / "theirs").write_bytes(b"theirs")
    monkeypatch.setattr("sharding.machine.files.secrets.token_hex", lambda _: "7")
    for make in (lambda path: path.symlink_to("theirs"), lambda path: path.write_bytes(b"x"), os.mkfifo):
        place = tmp_path / ".metrics.json.7.tmp"
        make(place)
        with pytest.raises(FileExistsError):
            write_atomically(tmp_path / "metrics.json", b"ours")
        place.unlink()
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["theirs"]


def test_the_name_of_a_temporary_file_cannot_be_foreseen(tmp_path):
    names = set()
    for _ in range(50):
        with open_atomically(tmp_path / "x"):
            names |= set(os.listdir(tmp_path)) - {"x"}
    assert len(names) == 50


def test_an_error_names_the_file_that_the_user_knows(tmp_path):
    tmp_path.joinpath("file").touch()
    with pytest.raises(OSError, match=rf"'{tmp_path}/file/x'$"):
        write_atomically(tmp_path / "file/x", b"")
    with pytest.raises(OSError, match=rf"\[Errno 28\] No space left on device: '{tmp_path}/x'$"):
        fill(tmp_path / "x")


def fill(path):
    with open_atomically(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("found", "refused"),
    [(None, False), (b"", False), (b"\x89PNG\r\n", False), (b"{}", True), (b"GIF89a", True), (b"\x89", True)],
)
def test_a_file_is_replaced_by_one_of_its_kind(tmp_path, found, refused):
    path = tmp_path / "x"
    if found is not None:
        path.write_bytes(found)
    if refused:
        with pytest.raises(UsageError, match=r"--grid .*/x: a picture would replace a file of another kind; give anot"):
            check_kind(path, "--grid", "a picture", b"\x89png")
    else:
        check_kind(path, "--grid", "a picture", b"\x89png")
