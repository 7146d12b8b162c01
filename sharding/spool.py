"""Payloads that wait in memory, and on disk what does not fit there."""

import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

SEGMENT_BYTES = 64 << 20
"""A file of the spool; it goes when all that is in it was taken."""


class Spool:
    """Holds byte strings under numbers: at most `memory_bytes` in memory, the oldest beyond that on disk.

    The files have no name, so nothing is left behind however the process ends.

    Args:
        memory_bytes: Bound for what is held in memory; one string that is larger goes to disk at once.
        folder: An existing folder for the files; None for the system's.

    Attributes:
        held_bytes: Of the strings in memory now.
        peak_bytes: The most it has been.
        spilled_bytes: Written to disk so far.
    """

    def __init__(self, memory_bytes: int, folder: Path | None = None) -> None:
        self._limit, self._folder = memory_bytes, folder
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._spilled: dict[int, tuple[_Segment, int, int]] = {}
        self._segment: _Segment | None = None
        self._next = 0
        self.held_bytes = self.peak_bytes = self.spilled_bytes = 0

    def put(self, data: bytes) -> int:
        """Keep bytes; returns the number to take them by.

        Raises:
            OSError: The disk is full.
        """
        number, self._next = self._next, self._next + 1
        while self._held and self.held_bytes + len(data) > self._limit:
            oldest, old = self._held.popitem(last=False)
            self.held_bytes -= len(old)
            self._spill(oldest, old)
        if len(data) > self._limit:
            self._spill(number, data)
        else:
            self._held[number] = data
            self.held_bytes += len(data)
            self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        return number

    def take(self, number: int) -> bytes:
        """Give bytes back, once."""
        if number in self._held:
            data = self._held.pop(number)
            self.held_bytes -= len(data)
            return data
        segment, offset, size = self._spilled.pop(number)
        data = segment.read(offset, size)
        self._leave(segment)
        return data

    def drop(self, number: int) -> None:
        """Forget bytes."""
        if number in self._held:
            self.held_bytes -= len(self._held.pop(number))
        else:
            self._leave(self._spilled.pop(number)[0])

    @property
    def disk_bytes(self) -> int:
        """Size of the files now."""
        segments = {id(segment): segment for segment, _, _ in self._spilled.values()}
        return sum(segment.size for segment in segments.values())

    def _spill(self, number: int, data: bytes) -> None:
        if self._segment is None or self._segment.size >= SEGMENT_BYTES:
            self._segment = _Segment(self._folder)
        self._spilled[number] = self._segment, self._segment.append(data), len(data)
        self.spilled_bytes += len(data)

    def _leave(self, segment: "_Segment") -> None:
        segment.live -= 1
        if segment.live == 0:
            segment.file.close()
            if segment is self._segment:
                self._segment = None

    def close(self) -> None:
        """Give memory and disk back."""
        for segment, _, _ in self._spilled.values():
            segment.file.close()
        self._held.clear()
        self._spilled.clear()
        self._segment, self.held_bytes = None, 0


class _Segment:
    """A file without a name. `live` counts the strings in it that are still wanted."""

    def __init__(self, folder: Path | None) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile(dir=folder)
        self.size = self.live = 0

    def append(self, data: bytes) -> int:
        self.file.seek(self.size)
        self.file.write(data)
        offset, self.size = self.size, self.size + len(data)
        self.live += 1
        return offset

    def read(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(size)
        assert len(data) == size
        return data
