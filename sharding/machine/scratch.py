"""Folders for temporary files that do not outlive their process for long: who makes one removes those of the dead.

A folder belongs to a process as long as that holds the lock on it, which ends with the process, however it ends.
"""

import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from sharding.machine.locks import try_lock

_HOST = hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:8]
# With the host: where a folder is shared among machines, its locks may be those of each machine alone.
_OURS = re.compile(rf"\.?depthstream-{_HOST}-[0-9a-f]{{16}}")


class Scratch:
    """A folder that only this user can read.

    It is removed by `close`, at the end of the process at the latest; if the process was killed, by the next one of
    this user on this machine that makes one in the same place.

    Args:
        place: An existing folder to make it in, hidden; None for `TMPDIR`.

    Attributes:
        path: The folder.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, place: Path | None = None) -> None:
        remove_abandoned(place)
        prefix = f"{'.' if place else ''}depthstream-{_HOST}-"
        self.path, descriptor = _make(place or Path(tempfile.gettempdir()), prefix)
        self._remove = weakref.finalize(self, _remove_own, os.getpid(), self.path, descriptor)

    def close(self) -> None:
        """Remove the folder."""
        self._remove()


def _make(place: Path, prefix: str) -> tuple[Path, int | None]:
    """Make a folder and lock it; return it with its descriptor, None where there are no locks."""
    while True:
        path = place / f"{prefix}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        # Another process may see it before it is locked: it then locks and removes it, and another is made here.
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            continue
        try:
            if try_lock(descriptor, shared=False) and _is_at(path, descriptor):
                return path, descriptor
        except OSError:  # the file system has no locks: it is not removed by others, who have none either
            os.close(descriptor)
            return path, None
        os.close(descriptor)


def remove_abandoned(place: Path | None = None) -> None:
    """Remove the folders there whose process has ended; other users' folders, links and files are left alone."""
    place = place or Path(tempfile.gettempdir())
    with suppress(OSError):
        for name in os.listdir(place):
            if _OURS.fullmatch(name):
                with suppress(OSError):
                    _remove_if_abandoned(place / name)


def _remove_if_abandoned(path: Path) -> None:
    descriptor = _open(path)
    try:
        owned = os.fstat(descriptor).st_uid == os.geteuid()
        if owned and try_lock(descriptor, shared=False) and _is_at(path, descriptor):
            shutil.rmtree(path, ignore_errors=True)  # follows no links
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        return stat.S_ISDIR(found.st_mode) and os.path.samestat(found, os.fstat(descriptor))
    return False


def _remove_own(pid: int, path: Path, descriptor: int | None) -> None:
    if os.getpid() != pid:  # a forked child
        return
    shutil.rmtree(path, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)
