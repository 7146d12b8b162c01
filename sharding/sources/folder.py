"""The files below a folder, as a source, and their fingerprint."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sharding.errors import DataError
from sharding.limits import MAX_MEMBER_BYTES
from sharding.machine.regular import read_regular
from sharding.sources.source import SourceFile
from sharding.sources.walk import Walk


class FolderSource:
    """The files below a folder.

    Args:
        root: An existing folder.
        without: A folder that is not of the source, if it is below it: the set that is made of it.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str], without: str | os.PathLike[str] | None = None) -> None:
        if not Path(root).is_dir():
            found = "a file" if Path(root).exists() else "nothing"
            raise DataError(f"{root}: expected a folder with the unpacked data set, found {found}")
        self._root, self._without = Path(root).resolve(), without

    def list(self) -> list[SourceFile]:
        """List all files, sorted by name, also those below linked folders.

        Raises:
            DataError: A folder cannot be read, or a name is not UTF-8, which no index could hold.
        """
        return Walk(self._root, self._without).files()

    def read(self, name: str) -> bytes:
        """Return the bytes of a file that `list` named.

        Raises:
            DataError: It is no regular file, larger than `MAX_MEMBER_BYTES`, or cannot be read.
        """
        try:
            return read_regular(self._root.parent / name, MAX_MEMBER_BYTES)
        except OSError as error:
            raise DataError(f"expected a readable file: {error.strerror}") from error

    def path_of(self, name: str) -> str:
        """Return the path below the root, without the name of the root."""
        return name.partition("/")[2]


def fingerprint(files: Sequence[SourceFile]) -> str:
    """Hash the names (below the root) and sizes of files with SHA-256.

    A copy elsewhere has the same fingerprint; a file that is added, removed or resized changes it.
    """
    lines = (f"{file.name.partition('/')[2]}\0{file.bytes}" for file in sorted(files))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
