"""Where the reading of an archive stood when a shard was finished: what a later run needs to go on there."""

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from sharding.archives.fingerprint import Fingerprint
from sharding.errors import UsageError
from sharding.progress import say
from sharding.sources.joiner import Waiting
from sharding.sources.pairing import Refusal
from sharding.sources.source import SourceFile
from sharding.sources.spool import SpoolPlace

_BYTES = ("seek_point", "md5_state")


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A place between two members of an archive.

    Attributes:
        shard: Number of the shard that comes next.
        offset: Plain offset of the next member: those before it are dealt with, but for the files that wait.
        enter: Plain offset at which reading must begin, so that files that waited in memory are had again.
        seek_point: For `open_archive`.
        archive: Size and fingerprint of the archive, as `Fingerprint.described`.
        used: Bytes of the compressed file that were used.
        probe: What `Fingerprint.probe` gave there.
        waiting: Files that wait for others of their sample.
        skipped: Number of entries that belong to no sample, by reason.
        refused: Files that were refused by name.
        members: Files that were met.
        ended: Whether the archive was read to its end.
        md5: Of the whole compressed file, if it ended and was hashed.
        md5_state: For `open_archive`.
    """

    shard: int = 0
    offset: int = 0
    enter: int = 0
    seek_point: bytes = b""
    archive: str = ""
    used: int = 0
    probe: str = ""
    waiting: tuple[Waiting, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()
    members: int = 0
    ended: bool = False
    md5: str = ""
    md5_state: bytes = b""

    @property
    def segments(self) -> set[str]:
        """Files of the spool that it needs."""
        return {place.segment for waiting in self.waiting for _, place in waiting.kept}

    @property
    def held(self) -> frozenset[str]:
        """Names of the files that must be read again."""
        return frozenset(name for waiting in self.waiting for name in waiting.held)

    def encode(self) -> bytes:
        """Write it as JSON."""
        content = dataclasses.asdict(self) | {name: base64.b85encode(getattr(self, name)).decode() for name in _BYTES}
        return (json.dumps(content) + "\n").encode()

    @staticmethod
    def decode(data: bytes) -> "ResumePoint":
        """Read what `encode` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            content = json.loads(data)
            changed = {
                **{name: base64.b85decode(content[name]) for name in _BYTES},
                "waiting": tuple(_waiting(one) for one in content["waiting"]),
                "refused": tuple(Refusal(**one | {"files": tuple(one["files"])}) for one in content["refused"]),
            }
            return ResumePoint(**content | changed)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected a position in an archive: {error!r}") from error


def _waiting(content: dict[str, Any]) -> Waiting:
    kept = tuple((SourceFile(**file), SpoolPlace(**place)) for file, place in content["kept"])
    return Waiting(kept=kept, held=tuple(content["held"]), contradicted=tuple(content["contradicted"]))


def check_unchanged(position: ResumePoint, fingerprint: Fingerprint, target: str) -> None:
    """Compare the archive with what it was when a position was saved. Beyond what was read it may have grown.

    Raises:
        UsageError: It is another one.
    """
    if not position.archive or position.archive == fingerprint.described:
        return
    if not position.ended and position.probe and same_place(position, fingerprint):
        say(
            f"{fingerprint.name}: was {position.archive}, is {fingerprint.described}, but as it was where reading "
            "ended: going on"
        )
        return
    raise UsageError(
        f"{target} holds an unfinished set that was begun otherwise: {fingerprint.name} was {position.archive}, is "
        f"{fingerprint.described} now; bring it back as it was to finish the set, choose another folder, or delete "
        "that one"
    )


def same_place(position: ResumePoint, fingerprint: Fingerprint) -> bool:
    """Whether what stands before a saved position is what stood there."""
    return position.used <= fingerprint.bytes and fingerprint.probe(position.used) == position.probe
