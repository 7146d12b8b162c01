"""Take members of a tar that is read in sequence, checked, and read no further than is needed."""

from collections.abc import Iterator, Mapping
from typing import IO, cast

from sharding.archives.archive import Archive
from sharding.archives.members import Member, MemberReader
from sharding.errors import DataError
from sharding.format.shard import check_member
from sharding.limits import MAX_PAYLOAD_BYTES
from training.streaming.shard_stream import CommandFailed

ADVICE = "`depthstream verify` reports what is damaged"
_MAX_READ_BYTES = 1 << 20


def walk_members(tar: IO[bytes], crcs: Mapping[str, int], payloads: bool) -> Iterator[tuple[str, bytes]]:
    """Yield name and payload of the members in `crcs`; end at the first member behind them.

    A member is yielded once the one behind it can be read: in a `.tar.zst` the checksum of a frame is at its end.

    Args:
        tar: Plain bytes of a tar, from the start.
        crcs: Name -> crc32c of the members to take.
        payloads: Whether the members are stored uncompressed, so that the payload has the crc32c of the index.

    Raises:
        DataError: The tar is damaged, or a member is missing, occurs twice or does not have its checksum.
    """
    wanted, held = {name.removeprefix("./"): name for name in crcs}, ""
    left, data = set(wanted), b""
    plain = cast(Archive, _Plain(tar))
    reader = MemberReader(plain, lambda name, _: name in wanted, most_bytes=MAX_PAYLOAD_BYTES)
    for member in _members(reader):
        if held:
            yield wanted[held], data
        if not left:
            return
        held = member.name if member.data is not None else ""
        if member.data is None:
            continue
        if held not in left:
            raise DataError(f"member {held} occurs twice; get a whole copy of the set")
        left.discard(held)
        data = member.data
        if payloads:
            _compare(data, held, crcs[wanted[held]])
    if held:
        yield wanted[held], data
    if left:
        skipped = ", ".join(f"{count} {reason}" for reason, count in reader.skipped.items())
        raise DataError(
            f"expected member {min(left)}, as the index has it, found none up to the end"
            f"{f' (not read: {skipped})' if skipped else ''}; the shard is truncated or belongs to another set: get a "
            "whole copy of the set"
        )


def _members(reader: MemberReader) -> Iterator[Member]:
    try:
        yield from reader
    except CommandFailed:
        raise
    except DataError as error:
        raise DataError(f"expected a whole tar, found a damaged or truncated one: {error}; {ADVICE}") from error


def _compare(payload: bytes, name: str, crc: int) -> None:
    try:
        check_member(payload, name, crc)
    except DataError as error:
        raise DataError(f"{error}; {ADVICE}") from error


class _Plain:
    """A stream as `MemberReader` reads an archive: whole reads, and the position of the next byte."""

    name = "tar"

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.position = stream, 0

    def read(self, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes, fewer only at the end."""
        pieces = []
        # In pieces, so that a header that claims more than there is takes no memory for it.
        while num_bytes and (piece := self._stream.read(min(num_bytes, _MAX_READ_BYTES))):
            pieces.append(piece)
            num_bytes -= len(piece)
            self.position += len(piece)
        return b"".join(pieces)

    def skip(self, num_bytes: int) -> int:
        """Read past `num_bytes` bytes; return how many there were."""
        left = num_bytes
        while left and (piece := self.read(min(left, _MAX_READ_BYTES))):
            left -= len(piece)
        return num_bytes - left
