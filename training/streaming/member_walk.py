"""Select members of a tar that webdataset reads in sequence, and read no further than is needed."""

from collections.abc import Mapping
from typing import Any

from sharding.errors import DataError
from sharding.format.shard import check_member

ADVICE = "`depthstream verify` reports what is damaged"


class MemberWalk:
    """A pass over the members of a tar that takes some, and ends at the first member after them.

    It does not end at the last one taken: in a `.tar.zst` a frame's checksum is at its end, and has been verified only
    once the next member can be read.

    Args:
        crcs: Name -> crc32c of the members to take.
        payloads: Whether the members are stored uncompressed, so that the payload has the crc32c of the index.
    """

    def __init__(self, crcs: Mapping[str, int], payloads: bool) -> None:
        self._crcs, self._payloads, self._left = crcs, payloads, set(crcs)

    def select(self, name: str) -> bool:
        """Decide whether webdataset yields a member; `select_files` of its tar reader."""
        # After the last wanted member any member is let through, for `check` to end the walk.
        over = not self._left
        self._left.discard(name)
        return over or name in self._crcs

    def check(self, member: Mapping[str, Any]) -> bool:
        """Check what webdataset yielded, a member or {} at the end of the tar; report whether the walk continues.

        Raises:
            DataError: The member does not have its checksum.
        """
        name = member.get("fname")  # None at the end of the tar
        if name not in self._crcs:
            return False
        if self._payloads:
            self._compare(str(name), member["data"])
        return True

    def _compare(self, name: str, payload: bytes) -> None:
        try:
            check_member(payload, name, self._crcs[name])
        except DataError as error:
            raise DataError(f"{error}; {ADVICE}") from error

    def end(self) -> None:
        """Check that every member to take was found.

        Raises:
            DataError: A member is missing.
        """
        if self._left:
            raise DataError(
                f"expected member {min(self._left)}, as the index has it, found none up to the end; the shard is "
                "truncated or belongs to another set: get a whole copy of the set"
            )
