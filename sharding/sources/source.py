"""What a set is made from: files with names, sizes and bytes. Here a folder; an archive is another source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sharding.stores.address import is_remote


def is_archive(source: str) -> bool:
    """Whether a source is a file or a URL, and not a folder."""
    return is_remote(source) or Path(source.removeprefix("file://")).is_file()


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A file of the source.

    Attributes:
        name: Path below the source's parent, with `/`: the folder's own name comes first, so that the source may be
            given at any level of the published tree.
        bytes: Its size.
    """

    name: str
    bytes: int


class Readable(Protocol):
    """What encoding needs of a source."""

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            DataError: It cannot be read.
        """
        ...

    def path_of(self, name: str) -> str:
        """Where the file stands in the source."""
        ...
