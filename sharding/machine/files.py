"""Write files so that a reader sees a whole one or none; check beforehand that they can be written."""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from sharding.errors import UsageError
from sharding.machine.regular import check_regular

PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]+\.tmp")
"""What the temporary files of `open_atomically` are called; those of earlier versions have the number of a process."""


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path` that replaces it if the block ends well and is removed if it does not.

    Raises:
        OSError: It cannot be written, or what is there is no file: a device would be gone. It names a file.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            check_replaceable(path)
        # A name that nobody can foresee, and no link that is there already: it may lead to a file of the user.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = temporary.open("xb")  # O_EXCL, which follows no link either
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # before the rename: after a power cut the new name must not hold an empty file
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have an OSError of the block name the file that the user knows: the system names a temporary one, or none.

    Raises:
        OSError: As in the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)
        raise


def check_replaceable(path: Path) -> None:
    """Check that what is at a path is a file, or a link, which is replaced itself.

    Raises:
        OSError: It is something else, or nothing.
    """
    found = os.lstat(path)
    if not stat.S_ISLNK(found.st_mode):
        check_regular(found, path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, or none.

    Raises:
        OSError: As `open_atomically`.
    """
    with open_atomically(path) as file:
        file.write(content)


def write_through_links(path: str | os.PathLike[str], content: bytes) -> None:
    """Write the file that a user named: that which it leads to if it is a link. The whole file, or none.

    Raises:
        OSError: As `open_atomically`.
    """
    write_atomically(Path(os.path.realpath(path)), content)


def check_kind(path: str | os.PathLike[str], flag: str, kind: str, beginning: bytes) -> None:
    """Check that a file which would be replaced is of the same kind, and not something else that is given by mistake.

    Args:
        path: The path.
        flag: Name of its option, for the message.
        kind: What is written there: "a PNG".
        beginning: How such a file begins, in small letters.

    Raises:
        UsageError: It is not.
    """
    with suppress(FileNotFoundError), open(path, "rb") as file:
        found = file.read(4096).lstrip().lower()
        if found and not found.startswith(beginning):
            raise UsageError(f"{flag} {path}: {kind} would replace a file of another kind; give another name")


def check_writable(path: str | os.PathLike[str], flag: str, *, folder: bool) -> None:
    """Check that a folder or a file can be made at a path, or is there; nothing is left there.

    Args:
        path: The path.
        flag: Name of its option, for the message.
        folder: Whether a folder is wanted, or a file.

    Raises:
        UsageError: It cannot.
    """
    place = Path(path)
    nearest = next(part for part in (place, *place.absolute().parents) if part.exists() or part.is_symlink())
    if nearest == place and not folder:
        place = Path(os.path.realpath(place))  # a link is written through
        try:
            check_replaceable(place)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UsageError(f"{flag} {path}: expected a file: {error.strerror}; give another one") from None
        nearest = place.parent
    if not nearest.is_dir():
        found = "a file" if nearest.exists() else "a link to nothing" if nearest.is_symlink() else "nothing"
        raise UsageError(f"{flag} {path}: expected a folder, found {found} at {nearest}")
    try:
        # By trying: what permissions say is not true of root on a network's disk, nor in /proc.
        with TemporaryDirectory(prefix=".", dir=nearest):
            pass
    except OSError as error:
        raise UsageError(f"{flag} {path}: {nearest} cannot be written to: {error.strerror}") from None
