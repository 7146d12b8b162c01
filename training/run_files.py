"""Reading small files that others may have made: regular ones alone, within a limit, checked against a type."""

import json
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import msgspec

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.limits import MAX_JSON_BYTES, MAX_TEXT_CHARS
from sharding.machine.regular import open_descriptor, read_regular

T = TypeVar("T")

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""What JSON can count exactly everywhere."""


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
    """Read a JSON file as a `kind`: a `msgspec.Struct`, or another type that msgspec checks.

    Raises:
        DataError: As `read_text`; or it is no JSON, or a field is missing or of another type.
    """
    text = read_text(path)
    try:
        # Not by msgspec: the values of a run that diverged are NaN and Infinity, which it does not read.
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, found none: {_brief(error)}") from error
    return convert(path, content, kind)


def convert(path: Path | str, content: Any, kind: type[T], place: str = "") -> T:
    """Check what was read from a file against a type, and convert it.

    Args:
        path: The file, for the message.
        content: What was read.
        kind: The type.
        place: Field of the file that it is, if it is not all of it.

    Raises:
        DataError: A field is missing or of another type; the message names it.
    """
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        # "Expected `str`, got `int` - at `$.train.identity`"
        text, _, inner = str(error).partition(" - at `$")
        field = place + inner.removesuffix("`")
        raise DataError(
            f"{path}: {shorten(escape(field.lstrip('.'))) or 'content'}: {shorten(escape(text))}"
        ) from error


def _brief(error: Exception) -> str:
    return shorten(escape(str(error) or type(error).__name__))
