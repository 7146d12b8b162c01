"""What folders and archives share as a source: files with names, sizes and bytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sharding.stores.address import is_remote


def is_archive(source: str) -> bool:
    """Tell whether a source is an archive, that is a file or a URL, and not a folder."""
    return is_remote(source) or Path(source.removeprefix("file://")).is_file()


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A file of the source.

    Attributes:
        name: Path below the parent of the source, with `/`. The name of the folder itself comes first, so that the
            source may be given at any level of the published tree.
        bytes: Its size; if it is a link, that of what it leads to.
        lost: Whether it is a link that leads nowhere, so that whatever was to be there is missing.
    """

    name: str
    bytes: int
    lost: bool = False


class Readable(Protocol):
    """What encoding needs of a source."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: It cannot be read.
        """
        ...

    def path_of(self, name: str) -> str:
        """Return the path of a file below the root of the source."""
        ...
