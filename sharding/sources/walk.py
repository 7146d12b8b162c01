"""The files below a folder, through links as well: links in a circle, and those that lead nowhere, are named."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.limits import MAX_WAYS
from sharding.progress import say
from sharding.sources.source import SourceFile

_Identity = tuple[int, int]
"""What a folder is, whatever leads to it: st_dev and st_ino."""

_NAMED = 5  # names in a warning


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to be listed.

    Attributes:
        path: Its path.
        name: Its name as that of a file of the source.
        above: The folders that it is in, up to the root of the file system.
        linked: Whether a link leads to it, or to one that it is in.
    """

    path: str
    name: str
    above: frozenset[_Identity]
    linked: bool


class Walk:
    """Lists the files below a folder.

    A linked folder is listed as a folder at the place of the link, and sizes are those of what a link leads to. A link
    to a folder that it is in adds nothing, and is passed over.

    Args:
        root: Real path of the folder.
        without: A folder that is left out, with all that is below it.
    """

    def __init__(self, root: Path, without: str | os.PathLike[str] | None = None) -> None:
        self._root = root
        self._without = None if without is None else (os.path.realpath(without), _identity(without))
        self._ways: Counter[_Identity] = Counter()
        self._circles: list[str] = []

    def files(self) -> list[SourceFile]:
        """List all files, sorted by name, which begins with that of the root.

        Raises:
            DataError: A folder cannot be read, links lead to one in too many ways, or a name is not UTF-8, which no
                index could hold.
        """
        found = sorted(self._walk())
        if self._circles:
            names = sorted(self._circles)
            listed = ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
            say(f"{self._root}: passed over {len(names)} links to a folder that they are in: {listed}")
        return found

    def _walk(self) -> Iterator[SourceFile]:
        above = frozenset(filter(None, map(_identity, self._root.parents)))
        folders = [_Folder(str(self._root), self._root.name, above, linked=False)]
        while folders:
            folder = folders.pop()
            entries, identity = _entries(folder.path)
            if self._is_left_out(folder, identity):
                continue
            for entry in entries:
                name = f"{folder.name}/{_checked_name(entry)}"
                if _is_folder(entry):
                    linked = folder.linked or entry.is_symlink()
                    folders.append(_Folder(entry.path, name, folder.above | {identity}, linked))
                else:
                    yield _file(entry, name)

    def _is_left_out(self, folder: "_Folder", identity: _Identity) -> bool:
        """Tell whether a folder is the one that is left out, or ends a circle; count the ways to it.

        Numbers of folders are compared below links alone: there are file systems that give all folders the same.
        """
        if self._without and (folder.path == self._without[0] or (folder.linked and identity == self._without[1])):
            return True
        if not folder.linked:
            return False
        if identity in folder.above:
            self._circles.append(folder.name)
            return True
        self._count(identity, folder.path)
        return False

    def _count(self, identity: _Identity, folder: str) -> None:
        """Count the ways to a folder: links beside each other double them at each level."""
        self._ways[identity] += 1
        if self._ways[identity] > MAX_WAYS:
            raise DataError(
                f"{shorten(folder)}: expected at most {MAX_WAYS} ways by which links lead to one folder, found more; "
                "remove the links that lead to each other"
            )


def _identity(folder: str | os.PathLike[str]) -> _Identity | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _entries(folder: str) -> tuple["list[os.DirEntry[str]]", _Identity]:
    """Return the entries of a folder, sorted by name, so that what is done with them does not depend on the disk."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        found = os.stat(folder)
    except OSError as error:
        raise DataError(
            f"{shorten(folder)}: expected a folder that can be read: {error.strerror}; give read permission, or move "
            "it away"
        ) from error
    return listed, (found.st_dev, found.st_ino)


def _checked_name(entry: "os.DirEntry[str]") -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{entry.path!r}: expected file names in UTF-8, found one that is not; rename it (convmv does that for a "
            "whole folder)"
        ) from error
    return entry.name


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where this user may not look
        return False


def _file(entry: "os.DirEntry[str]", name: str) -> SourceFile:
    try:
        return SourceFile(name, entry.stat().st_size)
    except OSError:
        # A link to nowhere is a file that cannot be read. An unmounted disk is behind it as well as a lock of an
        # editor, which is hidden.
        return SourceFile(name, 0, lost=not entry.name.startswith("."))
