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

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).resolve()
        if not self._root.is_dir():
            found = "a file" if self._root.exists() else "nothing"
            raise DataError(f"{root}: expected a folder with the unpacked data set, found {found}")

    def list(self) -> list[SourceFile]:
        """List all files, sorted by name; links to folders are not followed."""
        found: list[SourceFile] = []
        folders = [(str(self._root), self._root.name)]
        while folders:
            folder, name = folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    inner = f"{name}/{entry.name}"
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


def fingerprint(files: Sequence[SourceFile]) -> str:
    """Hash the names (below the root) and sizes of files with SHA-256.

    A copy elsewhere has the same fingerprint; a file that is added, removed or resized changes it.
    """
    lines = (f"{file.name.partition('/')[2]}\0{file.bytes}" for file in sorted(files))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
