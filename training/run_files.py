"""Files of runs as others may have made them: regular ones, small ones within a limit; and versions of packages."""

import hashlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from io import BufferedReader
from pathlib import Path
from platform import python_version
from typing import TypeVar

from sharding.errors import DataError
from sharding.format import strict_json
from sharding.limits import MAX_JSON_BYTES
from sharding.machine.regular import open_descriptor, read_regular

T = TypeVar("T")


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device is refused at once, without waiting for its other end.

    Raises:
        DataError: There is none, or it is no regular file, or may not be read.
    """
    try:
        return open(open_descriptor(path), "rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: As `open_regular`.
    """
    with open_regular(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def find_versions(names: Iterable[str]) -> dict[str, str]:
    """Find the versions of Python and of those of some packages that are installed.

    A package that is loaded tells its build as well, such as torch's CUDA: 2.9.1+cu128.
    """
    found = {"python": python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = str(getattr(sys.modules.get(name), "__version__", version(name)))
    return found


def read_limited(path: Path, most: int = MAX_JSON_BYTES) -> bytes:
    """Read a whole regular file.

    Raises:
        DataError: It has more than `most` bytes, or cannot be read.
    """
    try:
        return read_regular(path, most)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | ValueError) -> DataError:
    return DataError(f"{path}: expected a regular file that can be read: {getattr(error, 'strerror', None) or error}")


def read_text(path: Path, most: int = MAX_JSON_BYTES) -> str:
    """Read a whole regular file as UTF-8.

    Raises:
        DataError: As `read_limited`; or it is no text.
    """
    try:
        return read_limited(path, most).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, found the byte {error.object[error.start]:#04x}") from error


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a `kind`, a type that msgspec checks; the values of a run that diverged are NaN and Infinity.

    Raises:
        DataError: As `read_limited`; or it is no JSON, or a field is missing or of another type.
    """
    return strict_json.read_json(read_limited(path), kind, str(path), floats="all")
