"""Payloads that wait in memory, or on disk if they do not fit there or have waited long.

On disk payloads are appended to segments: files of about 64 MiB without any structure of their own. Where a payload is,
and its CRC-32, is recorded by its `SpoolPlace`, which a later run can adopt. A segment is never rewritten: it is closed
when its last payload was taken, and its file is deleted by `tidy` when no saved resume point refers to it any more.
"""

import os
import tempfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sharding.errors import DataError

SEGMENT_BYTES = 64 << 20
"""Size from which a segment is full, and a new one is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolPlace:
    """Where a payload is on disk: file name of the segment, offset in it, size in bytes, and CRC-32."""

    segment: str
    offset: int
    bytes: int
    crc32: int


class Spool:
    """Stores byte strings under numbers: at most `memory_bytes` in memory, the oldest beyond that on disk.

    Args:
        memory_bytes: Maximum bytes in memory; a larger string goes to disk at once.
        folder: Folder of segments from which a later run can resume (`place`, `adopt`, `tidy`). None: temporary files
            without a name, so that nothing is left behind however the process ends.

    Attributes:
        held_bytes: Bytes in memory now.
    """

    def __init__(self, memory_bytes: int, folder: Path | None = None) -> None:
        self._limit, self._folder = memory_bytes, folder
        self._held: OrderedDict[int, tuple[int, bytes]] = OrderedDict()  # number -> age and bytes, oldest first
        self._spilled: dict[int, tuple[_Segment, SpoolPlace]] = {}
        self._segments: dict[str, _Segment] = {}
        self._open: _Segment | None = None
        self._next = self._next_segment = 0
        self.held_bytes = 0

    def put(self, data: bytes, age: int = 0) -> int:
        """Store bytes; return the number to take them by.

        Args:
            data: The bytes.
            age: When they arrived, in any unit that never decreases from call to call: see `spill_older`.

        Raises:
            OSError: The disk is full.
        """
        number, self._next = self._next, self._next + 1
        # Room is made before the bytes are added, so that memory never exceeds the limit.
        while self._held and self.held_bytes + len(data) > self._limit:
            self._spill_oldest()
        if len(data) > self._limit:
            self._spill(number, data)
        else:
            self._held[number] = age, data
            self.held_bytes += len(data)
        return number

    def spill_older(self, age: int) -> None:
        """Write to disk what arrived before `age`.

        Raises:
            OSError: The disk is full.
        """
        while self._held and next(iter(self._held.values()))[0] < age:  # oldest first: ages never decrease
            self._spill_oldest()

    def take(self, number: int) -> bytes:
        """Return bytes and forget them.

        Raises:
            DataError: They are damaged on disk.
        """
        if number in self._held:
            data = self._held.pop(number)[1]
            self.held_bytes -= len(data)
            return data
        segment, place = self._spilled.pop(number)
        data = segment.read(place.offset, place.bytes)
        self._release(segment)
        if zlib.crc32(data) != place.crc32:
            raise DataError(
                f"{segment.name}: checksum mismatch in {place.bytes} bytes that waited on disk; run it again"
            )
        return data

    def drop(self, number: int) -> None:
        """Forget bytes."""
        if number in self._held:
            self.held_bytes -= len(self._held.pop(number)[1])
        else:
            self._release(self._spilled.pop(number)[0])

    def place(self, number: int) -> SpoolPlace | None:
        """Return where bytes are on disk; None if they are in memory."""
        return self._spilled[number][1] if number in self._spilled else None

    def adopt(self, place: SpoolPlace) -> int | None:
        """Take over bytes that an earlier run wrote to the folder; None if they are missing or damaged."""
        try:
            segment = self._segments.get(place.segment) or self._reopen(place.segment)
            # Checked now, because a run that lacks these bytes must read the archive from its start.
            whole = zlib.crc32(segment.read(place.offset, place.bytes)) == place.crc32
        except OSError:
            return None
        if not whole:
            return None
        number, self._next = self._next, self._next + 1
        self._spilled[number] = segment, place
        segment.live += 1
        return number

    def sync(self) -> None:
        """Flush the segments of the folder, so that they survive a power cut.

        Raises:
            OSError: The disk is full, or fails.
        """
        # A closed segment holds nothing that waits now, and was flushed before any point could refer to it.
        for segment in self._segments.values() if self._folder else ():
            segment.sync()

    def tidy(self, kept: set[str]) -> None:
        """Remove the files of the folder that hold nothing now and are not in `kept`, the names still needed."""
        for path in self._folder.iterdir() if self._folder and self._folder.exists() else ():
            if path.name not in kept and path.name not in self._segments:
                path.unlink()

    def _spill_oldest(self) -> None:
        number, (_, data) = self._held.popitem(last=False)
        self.held_bytes -= len(data)
        self._spill(number, data)

    def _spill(self, number: int, data: bytes) -> None:
        if self._open is None or self._open.size >= SEGMENT_BYTES:
            # An open segment stays when its payloads are taken, so a full one may be empty by now.
            full, self._open = self._open, self._create()
            self._close_if_done(full)
        offset = self._open.append(data)
        place = SpoolPlace(segment=self._open.name, offset=offset, bytes=len(data), crc32=zlib.crc32(data))
        self._spilled[number] = self._open, place

    def _create(self) -> "_Segment":
        if self._folder is None:
            # Without a directory entry: the system frees it when the process ends.
            name, file = str(self._next_segment), tempfile.TemporaryFile(buffering=0)
        else:
            self._folder.mkdir(exist_ok=True)
            # Files of earlier runs may still be needed: never append to them, nor take their names.
            while (path := self._folder / f"{self._next_segment:06d}.bin").exists():
                self._next_segment += 1
            name, file = path.name, path.open("x+b", buffering=0)
        self._next_segment += 1
        segment = self._segments[name] = _Segment(name, file, 0)
        return segment

    def _reopen(self, name: str) -> "_Segment":
        path = (self._folder or Path()) / name
        # Read only: new payloads go to new segments.
        segment = self._segments[name] = _Segment(name, path.open("rb", buffering=0), path.stat().st_size)
        return segment

    def _release(self, segment: "_Segment") -> None:
        segment.live -= 1
        self._close_if_done(segment)

    def _close_if_done(self, segment: "_Segment | None") -> None:
        if segment is not None and segment.live == 0 and segment is not self._open:
            segment.file.close()
            del self._segments[segment.name]

    def close(self) -> None:
        """Release memory and unnamed files; files of the folder stay for a later run."""
        for segment in self._segments.values():
            segment.file.close()
        self._held.clear()
        self._spilled.clear()
        self._segments.clear()
        self._open, self.held_bytes = None, 0


class _Segment:
    """A file of payloads, only ever appended to.

    Attributes:
        name: File name in the folder; any other name for an unnamed file.
        file: The open file.
        size: Its size in bytes.
        live: Number of payloads in it that were not taken or dropped yet.
    """

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        self.name, self.file, self.size, self.live = name, file, size, 0
        # Bytes that an earlier run wrote were flushed before the point that refers to them.
        self._synced = size

    def append(self, data: bytes) -> int:
        view = memoryview(data)
        at = self.size
        while view:  # pwrite may write less than given
            written = os.pwrite(self.file.fileno(), view, at)
            at, view = at + written, view[written:]
        offset, self.size = self.size, at
        self.live += 1
        return offset

    def sync(self) -> None:
        if self._synced < self.size:  # else nothing was appended since
            os.fsync(self.file.fileno())
            self._synced = self.size

    def read(self, offset: int, size: int) -> bytes:
        # Explicit offsets in pread and pwrite: reading does not move the place where the next payload is appended.
        return os.pread(self.file.fileno(), size, offset)
