"""Only files are read: nothing that blocks, never ends, or is larger than it may be."""

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from sharding.machine.regular import open_regular, read_regular

LIMIT = 1000


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_a_file_is_read_whole_also_through_a_link(tmp_path, size):
    (tmp_path / "file").write_bytes(os.urandom(size))
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_regular(tmp_path / name, LIMIT) == (tmp_path / "file").read_bytes()


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(bytes(LIMIT + 1))
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(20 << 30)
    for name, size in [("file", 1001), ("sparse", 20 << 30)]:
        with pytest.raises(OSError, match=f"found {size} bytes; at most 1000 are read") as caught:
            read_regular(tmp_path / name, LIMIT)
        assert caught.value.errno == errno.EFBIG


def test_a_file_that_is_larger_than_its_size_is_read_to_the_limit():
    # Files of the kernel have size 0.
    assert os.stat("/proc/self/status").st_size == 0
    assert b"Pid:" in read_regular("/proc/self/status", 1 << 20)
    with pytest.raises(OSError, match="found more than 10 bytes; at most 10 are read"):
        read_regular("/proc/self/status", 10)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    os.chdir(path.parent)  # the address of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)


def link_to(target: str):
    def make(path: Path) -> None:
        path.symlink_to(target)

    return make


IRREGULAR = {
    "fifo": (make_fifo, r"it is a FIFO \(named pipe\), not a file"),
    "socket": (make_socket, "it is a socket, not a file"),
    "zero": (link_to("/dev/zero"), "it is a device, not a file"),
    "tty": (link_to("/dev/tty"), "it is a device, not a file"),
    "folder": (link_to("/"), "Is a directory"),
    "itself": (link_to("x"), "Too many levels of symbolic links"),
    "nowhere": (link_to("nowhere"), "No such file or directory"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("make", "reason"), IRREGULAR.values(), ids=IRREGULAR)
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    with pytest.raises(OSError, match=reason):
        read_regular(tmp_path / "x", LIMIT)
    with pytest.raises(OSError, match=reason), open_regular(tmp_path / "x"):
        pass


@pytest.mark.timeout(20)
def test_a_fifo_is_refused_also_if_somebody_writes_to_it(tmp_path):
    os.mkfifo(tmp_path / "x")
    writer = threading.Thread(target=lambda: os.close(os.open(tmp_path / "x", os.O_WRONLY)))
    writer.start()
    with pytest.raises(OSError, match="FIFO"):
        read_regular(tmp_path / "x", LIMIT)
    os.close(os.open(tmp_path / "x", os.O_RDONLY))  # lets the writer end
    writer.join()


@pytest.mark.timeout(20)
def test_a_file_that_becomes_a_fifo_before_it_is_opened_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"abc")
    stat = os.stat

    def stat_and_replace(path, **options):
        found = stat(path, **options)
        os.unlink(path)
        os.mkfifo(path)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_and_replace)
        with pytest.raises(OSError, match="FIFO"):
            read_regular(tmp_path / "x", LIMIT)


def test_no_descriptor_is_left_open(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_regular(tmp_path / "x", LIMIT)
        with pytest.raises(OSError, match="found 3 bytes"):
            read_regular(tmp_path / "x", 2)
    assert len(os.listdir("/proc/self/fd")) == before
