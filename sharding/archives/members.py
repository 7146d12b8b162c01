"""The files of an archive, one after the other. No path is ever made from a member's name.

Any entry but a regular file with a valid name is skipped and counted. Memory: one wanted member.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sharding.archives.archive import Archive
from sharding.format.tar_walk import FILE, FOLDER, Entry, TarWalker
from sharding.limits import MAX_MEMBER_BYTES, MAX_TEXT_CHARS


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the archive.

    Attributes:
        name: With `/`, without a leading `./`.
        num_bytes: Its size.
        offset: Plain offset of its first header, that of a long name if it has one: a member boundary.
        end: Plain offset of the next header: a member boundary, at which a later reader can begin.
        data: Its bytes; None if it was not wanted.
    """

    name: str
    num_bytes: int
    offset: int
    end: int
    data: bytes | None


@dataclass
class MemberReader:
    """Iterates over the plain files of an archive, from its position to its end.

    Args:
        archive: At the start or at a member boundary.
        wanted: Whether the bytes are needed, from name and size.
        count_from: Entries that begin before this plain offset are not counted: an earlier reader counted them.
        most_bytes: Size of the largest file that is read.

    Attributes:
        skipped: Number of entries that this reader skipped, by reason; folders are not counted.

    Raises:
        DataError: It is not a tar, damaged, truncated, or followed by other data.
    """

    archive: Archive
    wanted: Callable[[str, int], bool] = lambda name, num_bytes: True
    count_from: int = 0
    most_bytes: int = MAX_MEMBER_BYTES
    skipped: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Member]:
        """Yield the members; end only at the zero blocks that end the archive."""
        walker = TarWalker(self.archive)
        for entry in walker:
            name = entry.name.removeprefix("./")
            if reason := reason_to_skip(entry, self.most_bytes):
                walker.skip()
                self.skipped.update([reason] if reason != FOLDER and entry.offset >= self.count_from else [])
                continue
            data = None
            if self.wanted(name, entry.num_bytes):
                data = walker.read()
            else:
                walker.skip()  # before it is yielded: a member that is cut off is none
            end = self.archive.position
            yield Member(name=name, num_bytes=entry.num_bytes, offset=entry.offset, end=end, data=data)


def reason_to_skip(entry: Entry, most_bytes: int = MAX_MEMBER_BYTES) -> str:
    """Return why an entry is no file that can be used, in words; "" if it is one."""
    name = entry.name.removeprefix("./")
    if entry.kind != FILE:
        return entry.kind
    if name.startswith("/") or ".." in name.split("/"):
        return "name that leads out of the archive"
    if not name or not name.isprintable():
        return "name that is no readable text"
    if len(name) > MAX_TEXT_CHARS:
        return f"name of more than {MAX_TEXT_CHARS} characters"
    return f"file of more than {most_bytes >> 20} MiB" if entry.num_bytes > most_bytes else ""
