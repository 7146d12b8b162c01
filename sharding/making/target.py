"""Where a set is written: a folder here, a store behind a URL in `remote_target`; and errors of writing in words."""

import errno
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from sharding.errors import DataError
from sharding.format.index import INDEX_NAME
from sharding.format.manifest import MANIFEST_NAME
from sharding.format.names import LEDGER_NAME, QUARANTINE_NAME, WAITING_NAME
from sharding.machine.exclusive import exclusive
from sharding.machine.files import PARTIAL, open_atomically, write_atomically
from sharding.machine.regular import read_regular
from sharding.progress import say
from sharding.stores.address import is_remote

_IN_ROOT = re.compile("|".join(map(re.escape, (MANIFEST_NAME, INDEX_NAME, QUARANTINE_NAME))))
_IN_SHARDS = re.compile(r".+\.tar(\.zst)?")
_IN_LEDGER = re.compile(r".+\.json")


class SetTarget(Protocol):
    """A place that a set is written to: whole files, by names with `/`.

    Attributes:
        address: Its address in messages, without credentials.
    """

    address: str

    def read(self, name: str) -> bytes | None:
        """Read a file; None if it is missing or unreadable."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, or nothing."""
        ...

    def write_last(self, name: str, content: bytes) -> None:
        """Write a whole file that is not there yet.

        Raises:
            DataError: Another run has written it.
        """
        ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for writing; it becomes visible only if the block ends well."""
        ...

    def names(self, folder: str) -> list[str]:
        """List the files directly in a folder, by name without the folder, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        ...

    def tag(self, name: str) -> str:
        """Return a tag of the content of a file by which the store identifies it (ETag); "" if it has none."""
        ...

    def is_whole(self, name: str, num_bytes: int, sha256: str, tag: str) -> bool:
        """Tell whether a file has this size and content, by its tag if it has one, else by reading and hashing it."""
        ...

    def begin(self) -> None:
        """Prepare the place, and remove partially written files of a killed run."""
        ...

    def clean(self, folder: str) -> None:
        """Remove a folder with all files and folders in it."""
        ...

    def free_bytes(self) -> int | None:
        """Return the free space in bytes; None if unknown."""
        ...

    def restore_spool(self, names: Collection[str]) -> Path:
        """Return a local folder for the spool, with those segments of an earlier run that are still available."""
        ...

    def save_spool(self, names: Collection[str]) -> None:
        """Save these segments for a later run."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Exclude other runs during the block.

        Raises:
            UsageError: Another run is making the set.
        """
        ...

    def check_held(self, shards: Sequence[tuple[str, int, str]]) -> None:
        """Check in `alone` that other runs are still excluded, and have replaced none of these shards.

        Args:
            shards: Name, size in bytes and tag of each.

        Raises:
            DataError: They are not, or have.
        """
        ...


class LocalTarget:
    """A folder.

    Args:
        folder: Its path; `begin` creates it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self.address = str(folder)

    def read(self, name: str) -> bytes | None:
        """Read a file; None if it is missing or unreadable."""
        try:
            return read_regular(self._folder / name, sys.maxsize)
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a temporary file next to its destination and rename it."""
        write_atomically(self._folder / name, content)

    def write_last(self, name: str, content: bytes) -> None:
        """Write it as any other: `alone` keeps other runs out."""
        self.write(name, content)

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a temporary file next to its destination, which is renamed if the block ends well."""
        return open_atomically(self._folder / name)

    def names(self, folder: str) -> list[str]:
        """List a folder."""
        path = self._folder / folder
        return sorted(inner.name for inner in path.iterdir() if inner.is_file()) if path.is_dir() else []

    def remove(self, name: str) -> None:
        """Unlink a file."""
        (self._folder / name).unlink(missing_ok=True)

    def tag(self, name: str) -> str:
        """Return "": a folder has no tags."""
        return ""

    def is_whole(self, name: str, num_bytes: int, sha256: str, tag: str) -> bool:
        """Read and hash the file."""
        path = self._folder / name
        try:
            if path.stat().st_size != num_bytes:  # a truncated file need not be hashed
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def begin(self) -> None:
        """Create the folders; remove temporary files."""
        for name, ours in (("", _IN_ROOT), ("shards", _IN_SHARDS), (LEDGER_NAME, _IN_LEDGER)):
            folder = self._folder / name
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                partial = PARTIAL.fullmatch(path.name)
                # Of any process: `alone` is held, so where locks work none of them is still being written.
                if partial and ours.fullmatch(partial["name"]) and path.is_file():
                    path.unlink(missing_ok=True)

    def clean(self, folder: str) -> None:
        """Remove a folder."""
        if (self._folder / folder).exists():
            shutil.rmtree(self._folder / folder)

    def free_bytes(self) -> int | None:
        """Return the free space of the file system in bytes."""
        return shutil.disk_usage(self._folder).free

    def restore_spool(self, names: Collection[str]) -> Path:
        """Return a folder below the ledger, where a later run finds them."""
        return self._folder / WAITING_NAME

    def save_spool(self, names: Collection[str]) -> None:
        """Do nothing: they are in the folder already."""

    def alone(self) -> AbstractContextManager[None]:
        """Lock the folder."""
        return exclusive(
            self._folder, f"{self.address}: another run is making this set; wait until it ends, or end it", say
        )

    def check_held(self, shards: Sequence[tuple[str, int, str]]) -> None:
        """Do nothing: the lock of a folder is held until it is released."""


def open_target(address: str) -> SetTarget:
    """Open the folder or store at an address.

    Raises:
        UsageError: It is a web server, or there are no credentials.
    """
    if is_remote(address):
        return _open_remote(address, os.getpid())
    return LocalTarget(address.removeprefix("file://"))


@lru_cache(maxsize=2)
def _open_remote(address: str, pid: int) -> SetTarget:
    """Open a store once per process, because a run may ask about a thousand shards; clients do not survive a fork."""
    from sharding.making.remote_target import RemoteTarget

    return RemoteTarget(address)


def tell_room(target: SetTarget, needed: int = 0) -> str:
    """Return the free space in words, with a warning if more bytes are needed."""
    free = target.free_bytes()
    if free is None:
        return "free space unknown"
    enough = "" if needed <= free else "; THAT IS NOT ENOUGH: make room while it runs"
    return f"{free / 1e9:.1f} GB free{enough}"


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError of the block into a DataError that tells why the set cannot be written.

    Raises:
        DataError: It cannot.
    """
    try:
        yield
    except OSError as error:
        where, reason = error.filename or target, error.strerror or error
        advice = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fix that"
        raise DataError(
            f"{where}: the set cannot be written: {reason}; finished shards are kept: "
            f"{advice} and run the same command again"
        ) from error
