"""Where a set is written: a folder here, a store behind a URL in `remotetarget`; plain words when it cannot be."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from sharding.errors import DataError, UsageError
from sharding.format.names import LEDGER_NAME
from sharding.machine.files import open_atomically, write_atomically
from sharding.stores.address import is_remote

_PARTIAL = re.compile(r"\..+\.\d+\.tmp")


class SetTarget(Protocol):
    """A place that a set is written to: whole files, by names with `/`.

    Attributes:
        address: What people call it.
    """

    address: str

    def read(self, name: str) -> bytes | None:
        """A file, None if there is none that can be read."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, or none."""
        ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file to write; it is there if the block ends well, and not at all if it does not."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files right below a folder, without it, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def tag(self, name: str) -> str:
        """What the store itself says of a file's content, to know it again by; "" if it says nothing."""
        ...

    def is_whole(self, name: str, num_bytes: int, sha256: str, tag: str) -> bool:
        """Whether a file is there with this size and content; by its tag if it has one, else all of it is read."""
        ...

    def begin(self) -> None:
        """Make the place ready, and remove what a killed run left half written."""
        ...

    def clean(self, folder: str) -> None:
        """Remove a folder with the files right below it and below its folders."""
        ...

    def free_bytes(self) -> int | None:
        """Room that is left; None if nobody knows."""
        ...

    def restore_spool(self, names: Collection[str]) -> Path:
        """A folder on this machine for files that wait, with those of an earlier run that are still to be had."""
        ...

    def save_spool(self, names: Collection[str]) -> None:
        """See that a later run will have these of them."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep other runs away, as far as the place can."""
        ...


class LocalTarget:
    """A folder.

    Args:
        folder: Made when the set is begun.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self.address = str(folder)

    def read(self, name: str) -> bytes | None:
        """Read a file."""
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file beside its goal and move it there."""
        write_atomically(self._folder / name, content)

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file beside its goal."""
        return open_atomically(self._folder / name)

    def names(self, folder: str) -> list[str]:
        """List a folder."""
        path = self._folder / folder
        return sorted(inner.name for inner in path.iterdir() if inner.is_file()) if path.is_dir() else []

    def remove(self, name: str) -> None:
        """Unlink a file."""
        (self._folder / name).unlink(missing_ok=True)

    def tag(self, name: str) -> str:
        """A folder says nothing."""
        return ""

    def is_whole(self, name: str, num_bytes: int, sha256: str, tag: str) -> bool:
        """Read and hash the file."""
        path = self._folder / name
        try:
            if path.stat().st_size != num_bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def begin(self) -> None:
        """Make the folders; remove temporary files."""
        for folder in (self._folder, self._folder / "shards", self._folder / LEDGER_NAME):
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if _PARTIAL.fullmatch(path.name) and path.is_file():
                    path.unlink(missing_ok=True)

    def clean(self, folder: str) -> None:
        """Remove a folder."""
        if (self._folder / folder).exists():
            shutil.rmtree(self._folder / folder)

    def free_bytes(self) -> int | None:
        """Ask the file system."""
        return shutil.disk_usage(self._folder).free

    def restore_spool(self, names: Collection[str]) -> Path:
        """Below the ledger, where a later run finds them."""
        return self._folder / LEDGER_NAME / "waiting"

    def save_spool(self, names: Collection[str]) -> None:
        """They are kept."""

    def alone(self) -> AbstractContextManager[None]:
        """Lock the folder."""
        return alone(self._folder)


def open_target(address: str) -> SetTarget:
    """The folder, or the store, that an address names.

    Raises:
        UsageError: Nothing can be written there.
    """
    if is_remote(address):
        return _open_remote(address, os.getpid())
    return LocalTarget(address.removeprefix("file://"))


@lru_cache(maxsize=2)
def _open_remote(address: str, pid: int) -> SetTarget:
    """One client for a process: there may be a thousand shards to ask about."""
    from sharding.making.remote_target import RemoteTarget

    return RemoteTarget(address)


def tell_room(target: SetTarget, needed: int = 0) -> str:
    """How much room there is, in words; and a warning if more bytes are needed."""
    free = target.free_bytes()
    if free is None:
        return "room is not limited here"
    enough = "" if needed <= free else "; THAT IS NOT ENOUGH: make room meanwhile"
    return f"{free / 1e9:.1f} GB free{enough}"


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other runs away from the folder, which is made if there is none; ends with the process.

    A file system that has no locks is trusted.

    Raises:
        UsageError: Another run is making this set.
    """
    target.mkdir(parents=True, exist_ok=True)
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise UsageError(f"{target}: another run is making this set; wait until it ends, or end it") from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(folder)


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[None]:
    """Say in plain words why the set cannot be written.

    Raises:
        DataError: It cannot.
    """
    try:
        yield
    except OSError as error:
        where, reason = error.filename or target, error.strerror or error
        advice = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
        raise DataError(
            f"{where}: the set cannot be written: {reason}; finished shards are kept: "
            f"{advice} and run the same command again"
        ) from error
