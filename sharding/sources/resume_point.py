"""The position in an archive when a shard was finished: what a later run needs to resume there."""

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from sharding.archives.fingerprint import Fingerprint
from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Count, parse, to_type
from sharding.progress import say
from sharding.sources.joiner import Waiting
from sharding.sources.pairing import Refusal

_WHERE = "resume point"
_BYTES = ("seek_point", "md5_state")  # written as base 85: JSON has no bytes


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A place between two members of an archive, with the state of all that reads it.

    Plain offsets count bytes of the tar, compressed ones bytes of the file. `enter` is before `offset` if files wait in
    memory: a later run reads them again from there, and skips all else up to `offset`.

    Attributes:
        shard: Number of the shard that comes next.
        offset: Plain offset of the next member: all before it is in a shard, refused, skipped or waiting.
        enter: Plain offset at which reading must begin, so that files that waited in memory are read again.
        seek_point: For `open_archive`.
        archive: Size and fingerprint of the archive, as `Fingerprint.described`.
        used: Compressed bytes that were consumed.
        probe: Result of `Fingerprint.probe` at `used`.
        waiting: Files that wait for others of their sample.
        skipped: Number of entries that belong to no sample, by reason.
        refused: Files that were refused by name.
        members: Number of files before `offset`.
        ended: Whether the archive was read to its end.
        md5: MD5 of the whole compressed file, if it ended and was hashed.
        md5_state: For `open_archive`.
    """

    shard: Count = 0
    offset: Count = 0
    enter: Count = 0
    seek_point: bytes = b""
    archive: str = ""
    used: Count = 0
    probe: str = ""
    waiting: tuple[Waiting, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()
    members: Count = 0
    ended: bool = False
    md5: str = ""
    md5_state: bytes = b""

    @property
    def segments(self) -> set[str]:
        """Names of the spool segments that it needs."""
        return {place.segment for waiting in self.waiting for _, place in waiting.kept}

    @property
    def held(self) -> frozenset[str]:
        """Names of the files that waited in memory and must be read again."""
        return frozenset(name for waiting in self.waiting for name in waiting.held)

    def encode(self) -> bytes:
        """Write it as JSON."""
        content = dataclasses.asdict(self) | {name: base64.b85encode(getattr(self, name)).decode() for name in _BYTES}
        return (json.dumps(content) + "\n").encode()

    @staticmethod
    def decode(data: bytes) -> "ResumePoint":
        """Read what `encode` wrote.

        Raises:
            DataError: It is something else.
        """
        content = parse(data, _WHERE)
        text = to_type(content, _Text, _WHERE)
        try:
            changed = {name: base64.b85decode(getattr(text, name)) for name in _BYTES}
        except ValueError as error:
            raise DataError(f"{_WHERE}: expected text in base 85: {error}") from None
        return to_type(content | changed, ResumePoint, _WHERE)


@dataclass(frozen=True, kw_only=True)
class _Text:
    """The fields that are bytes, as text, and those that must be there."""

    seek_point: str
    md5_state: str
    waiting: list[Any]
    refused: list[Any]


def check_unchanged(point: ResumePoint, fingerprint: Fingerprint, target: str) -> None:
    """Check that the archive is the one of a saved point; beyond what was read it may have grown.

    Raises:
        UsageError: It is another one.
    """
    if not point.archive or point.archive == fingerprint.described:
        return
    # Size and end of a file change while it is still being downloaded; the 64 KiB before `used` do not.
    if not point.ended and point.probe and same_place(point, fingerprint):
        say(
            f"{fingerprint.name}: was {point.archive}, is {fingerprint.described}, but unchanged where "
            "reading ended: resuming"
        )
        return
    raise UsageError(
        f"{target} holds an unfinished set that was begun from another archive: {fingerprint.name} was "
        f"{point.archive}, is {fingerprint.described} now; restore the archive to finish the set, choose another "
        "folder, or delete that one"
    )


def same_place(point: ResumePoint, fingerprint: Fingerprint) -> bool:
    """Tell whether the bytes before a saved point are unchanged."""
    return point.used <= fingerprint.bytes and fingerprint.probe(point.used) == point.probe
