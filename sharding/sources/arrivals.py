"""Read the samples of an archive, in the order in which their last file arrives, and cut them into shards.

Positions are plain offsets: bytes of the tar, however it is compressed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sharding.archives.archive import Archive
from sharding.archives.fingerprint import Fingerprint
from sharding.archives.members import Member, MemberReader
from sharding.archives.seek_point import SeekPoint
from sharding.sources.joiner import Joined, Joiner
from sharding.sources.layout import Layout
from sharding.sources.resume_point import ResumePoint

SPAN_BYTES = 512 << 20
"""Plain bytes of the archive after which a shard ends in any case, which bounds what a later run reads again."""

HELD_BYTES = 192 << 20
"""A file that still waits after this many more plain bytes of the archive is moved to disk."""

FOREIGN_AFTER_MEMBERS = 1000
"""Number of members after which an archive in which nothing is wanted counts as the wrong one."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The end of a shard, or of a stretch of the archive in which no sample was complete.

    Attributes:
        point: Where the next shard begins; saved when all before it is written.
    """

    point: ResumePoint


# Plain offsets in a run that resumes at a `ResumePoint`:
#
#     0 ------ seek point ----------- enter ------------------- offset --------------- end
#              inflate from here,     take only the files       take all that is wanted
#              discard up to enter    that waited in memory     and count members
class Arrivals:
    """Reads an archive from a resume point to its end.

    Args:
        archive: Open at `start.enter`.
        joiner: With the files that waited on disk at `start`.
        layout: Layout of the data set.
        start: Where to resume; None for the start of the archive.
    """

    def __init__(self, archive: Archive, joiner: Joiner, layout: Layout, start: ResumePoint | None = None) -> None:
        self._archive, self._joiner, self._layout = archive, joiner, layout
        self._start = start or ResumePoint()
        self._members = self._start.members
        self._points = [SeekPoint.decode(self._start.seek_point)] if self._start.seek_point else []
        self._reader = MemberReader(archive, self._wants, self._start.offset)

    def _wants(self, name: str, num_bytes: int) -> bool:
        # Called at the end of a header, so a member that begins at `offset` is beyond it. Of those before it only the
        # files that waited in memory are read again.
        if self._archive.position <= self._start.offset:
            return name in self._start.held
        return self._joiner.wants(name, num_bytes)

    def read(self) -> Iterator[tuple[Member, Joined | None]]:
        """Yield each member with the sample that it completes.

        Raises:
            DataError: The archive is damaged, truncated, or of another layout.
        """
        for member in self._reader:
            again = member.offset < self._start.offset
            if again and member.name not in self._start.held:
                continue
            self._members += not again  # an earlier run counted those
            joined = self._joiner.add(member.name, member.num_bytes, member.data, member.offset)
            self._joiner.spool.spill_older(member.end - HELD_BYTES)  # the age of a file is its offset
            self._note_point(member.end)
            if self._members == FOREIGN_AFTER_MEMBERS and self._seems_foreign():
                raise self._layout.misfit(self.skipped)
            yield member, joined
        if not self._joiner.matched and not self._joiner.refused and not self._start.offset:
            raise self._layout.misfit(self.skipped)

    def _note_point(self, position: int) -> None:
        """Remember the last seek points, as far back as files wait in memory."""
        point = self._archive.point
        if point is not None and (not self._points or point is not self._points[-1]):
            self._points.append(point)
            # A boundary needs the last point at or before its oldest file in memory: keep one from before that span.
            past = sum(known.offset <= position - 2 * HELD_BYTES for known in self._points)
            self._points = self._points[max(0, past - 1) :]

    def _seems_foreign(self) -> bool:
        """Tell whether all names so far are of another data set or split."""
        return (
            not self._start.offset
            and not self._joiner.matched
            and not self._joiner.refused
            and all(reason in self._layout.foreign for reason in self._joiner.skipped)
        )

    @property
    def skipped(self) -> Counter[str]:
        """Number of entries so far that belong to no sample, by reason."""
        return Counter(self._start.skipped) + self._joiner.skipped + self._reader.skipped

    def cut(self, shard_bytes: int, fingerprint: Fingerprint) -> Iterator[Joined | Boundary | None]:
        """Yield samples, None for any other member, and a boundary wherever a shard ends; the last has `ended`.

        Boundaries depend on names, sizes and offsets alone, so a bad sample never moves one. A shard ends with the
        sample that fills it, or with the member at which `SPAN_BYTES` of the archive were read. There is no boundary
        while it may be the wrong archive, because a saved resume point binds the folder to it.

        Args:
            shard_bytes: Source bytes that fill a shard.
            fingerprint: Fingerprint of the archive.
        """
        number, begin, room = self._start.shard, self._start.offset, shard_bytes
        for member, joined in self.read():
            yield joined
            if joined is not None:
                room -= joined.candidate.bytes
            if room <= 0 or (member.end - begin >= SPAN_BYTES and not self._seems_foreign()):
                number += room < shard_bytes  # a stretch without a complete sample makes no shard
                yield self._boundary(number, member.end, fingerprint)
                begin, room = member.end, shard_bytes
        yield self._last_boundary(number + (room < shard_bytes), fingerprint)

    def _boundary(self, number: int, offset: int, fingerprint: Fingerprint) -> Boundary:
        self._joiner.spool.sync()  # before the point that refers to its segments can be saved
        held = self._joiner.oldest_held()
        enter = offset if held is None else min(offset, held)  # ages are offsets
        # The last seek point from which `enter` can be reached; None: a gzip file is inflated from its start.
        point = next((known for known in reversed(self._points) if known.offset <= enter), None)
        used = self._archive.compressed_position
        return Boundary(
            point=ResumePoint(
                shard=number,
                offset=offset,
                enter=enter,
                seek_point=point.encode() if point else b"",
                archive=fingerprint.described,
                used=used,
                probe=fingerprint.probe(used),
                waiting=tuple(self._joiner.waiting()),
                skipped=dict(self.skipped),
                refused=(*self._start.refused, *self._joiner.refused),
                members=self._members,
                md5_state=self._archive.md5_state(),
            )
        )

    def _last_boundary(self, number: int, fingerprint: Fingerprint) -> Boundary:
        return Boundary(
            point=ResumePoint(
                shard=number,
                offset=self._archive.position,
                archive=fingerprint.described,
                skipped=dict(self.skipped),
                refused=(*self._start.refused, *self._joiner.refused, *self._joiner.leftovers()),
                members=self._members,
                ended=True,
                md5=self._archive.md5(),
            )
        )
