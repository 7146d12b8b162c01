"""Read files that are files: a FIFO would block, a device may never end, and a socket cannot be opened at all."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from sharding.limits import over

_KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PIECE_BYTES = 1 << 16


def open_descriptor(path: str | os.PathLike[str]) -> int:
    """Open a file for reading; links are followed. Never waits, whatever is there.

    Args:
        path: Its path.

    Returns:
        The file descriptor, which programs that are started do not inherit.

    Raises:
        OSError: It is no regular file, or cannot be opened; `strerror` is a reason for the user.
    """
    # Before it is opened, because opening has effects on some devices.
    check_regular(os.stat(path), path)
    # O_NONBLOCK: it may have been replaced by a FIFO in between.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        check_regular(os.fstat(file), path)
    except OSError:
        os.close(file)
        raise
    return file


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[int]:
    """Open a file as `open_descriptor` does, for the block.

    Raises:
        OSError: As there.
    """
    file = open_descriptor(path)
    try:
        yield file
    finally:
        os.close(file)


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Read a whole file; no more of it than `limit` bytes, whatever its size is said to be.

    Args:
        path: Its path.
        limit: The most bytes that it may have.

    Raises:
        OSError: It is no regular file, is larger (EFBIG), or cannot be read; `strerror` is a reason for the user.
    """
    with open_regular(path) as file:
        size = os.fstat(file).st_size
        if size > limit:
            raise OSError(errno.EFBIG, over(f"found {size} bytes", limit), os.fspath(path))
        pieces, found = [], 0
        # Up to its end and not up to its size: it may grow, and files of the kernel have any size.
        while found <= limit and (piece := os.read(file, min(max(size - found, _PIECE_BYTES), limit + 1 - found))):
            pieces.append(piece)
            found += len(piece)
    if found > limit:
        raise OSError(errno.EFBIG, over(f"found more than {limit} bytes", limit), os.fspath(path))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def check_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Check that what was found at a path is a file.

    Raises:
        OSError: It is something else; `strerror` is a reason for the user.
    """
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", os.fspath(path))
