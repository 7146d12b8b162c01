"""When the files of a source folder last changed: whether a finished shard is still made of them."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sharding.errors import DataError
from sharding.sources.source import SourceFile


def source_state(root: str, files: Iterable[SourceFile]) -> str:
    """Hash name, size and modification time of source files; a copy that preserves times has the same state.

    Args:
        root: The folder.
        files: Files of it as they were listed, in a fixed order.

    Returns:
        SHA-256, hexadecimal.

    Raises:
        DataError: The size of one is no longer that which was listed.
    """
    digest, parent = hashlib.sha256(), _parent(root)
    for file in files:
        found = _stat(parent / file.name)
        if found and found.st_size != file.bytes:
            raise DataError(
                f"{root}: the source changed while the set was made: {file.name} had {file.bytes} bytes, and has "
                f"{found.st_size}; finished shards are kept: run the same command again when nothing writes to it"
            )
        time_ns = found.st_mtime_ns if found else 0  # one that is gone is an error where it is read
        digest.update(f"{file.name.partition('/')[2]}\0{file.bytes}\0{time_ns}\n".encode())
    return digest.hexdigest()


def last_modified(root: str, files: Sequence[SourceFile]) -> str:
    """Name the file that was modified last."""
    parent = _parent(root)

    def time_ns(file: SourceFile) -> int:
        found = _stat(parent / file.name)
        return found.st_mtime_ns if found else 0

    return max(files, key=time_ns).name


def changed_at(root: str, names: Iterable[str]) -> dict[str, int]:
    """Return when each source file, or its permissions, last changed (ctime), in ns; 0 if it is missing."""
    parent = _parent(root)
    # Not mtime, which a change of permissions leaves, and a copy may preserve.
    return {name: found.st_ctime_ns if (found := _stat(parent / name)) else 0 for name in names}


def _parent(root: str) -> Path:
    return Path(root).resolve().parent  # names begin with that of the root


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
