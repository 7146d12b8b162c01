"""The files below a folder, as a source, and their fingerprint."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sharding.errors import DataError
from sharding.sources.source import SourceFile


class FolderSource:
    """The files below a folder.

    Args:
        root: An existing folder.
        without: A folder that is not of the source, if it is below it: the set that is made of it.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str], without: str | os.PathLike[str] | None = None) -> None:
        self._root = Path(root).resolve()
        self._without = None if without is None else str(Path(without).resolve())
        if not self._root.is_dir():
            found = "a file" if self._root.exists() else "nothing"
            raise DataError(f"{root}: expected a folder with the unpacked data set, found {found}")

    def list(self) -> list[SourceFile]:
        """List all files, sorted by name; links to folders are not followed.

        Raises:
            DataError: A folder cannot be read, or a name is not UTF-8, which no index could hold.
        """
        found: list[SourceFile] = []
        folders = [(str(self._root), self._root.name)]
        while folders:
            folder, name = folders.pop()
            with _entries(folder) as entries:
                for entry in entries:
                    inner = f"{name}/{_checked_name(entry)}"
                    if entry.path == self._without:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, inner))
                    elif not entry.is_symlink() or not entry.is_dir():  # a dangling link is a file that cannot be read
                        found.append(SourceFile(inner, entry.stat(follow_symlinks=False).st_size))
        return sorted(found)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file that `list` named.

        Raises:
            DataError: It cannot be read.
        """
        try:
            return (self._root.parent / name).read_bytes()
        except OSError as error:
            raise DataError(f"expected a readable file: {error.strerror}") from error

    def path_of(self, name: str) -> str:
        """Return the path below the root, without the name of the root."""
        return name.partition("/")[2]


def _entries(folder: str) -> "os._ScandirIterator[str]":
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: expected a folder that can be read: {error.strerror}; give read permission, or move it away"
        ) from error


def _checked_name(entry: "os.DirEntry[str]") -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{entry.path!r}: expected file names in UTF-8, found one that is not; rename it (convmv does that for a "
            "whole folder)"
        ) from error
    return entry.name


def fingerprint(files: Sequence[SourceFile]) -> str:
    """Hash the names (below the root) and sizes of files with SHA-256.

    A copy elsewhere has the same fingerprint; a file that is added, removed or resized changes it.
    """
    lines = (f"{file.name.partition('/')[2]}\0{file.bytes}" for file in sorted(files))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
