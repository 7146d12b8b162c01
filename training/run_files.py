"""Reading small files that others may have made: regular ones alone, within a limit, checked against a type."""

from pathlib import Path
from typing import BinaryIO, TypeVar

from sharding.errors import DataError
from sharding.format import strict_json
from sharding.limits import MAX_JSON_BYTES
from sharding.machine.regular import open_descriptor, read_regular

T = TypeVar("T")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe or a device is refused at once, without waiting for its other end.

    Raises:
        DataError: There is none, or it is no regular file, or may not be read.
    """
    try:
        return open(open_descriptor(path), "rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


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
