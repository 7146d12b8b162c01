"""Taking some members out of a tar that webdataset walks through, and no more of it than is needed."""

from collections.abc import Mapping
from typing import Any

from sharding.errors import DataError
from sharding.format.shard import check_member

ADVICE = "`depthstream verify` says what is damaged"


class MemberWalk:
    """A walk through the members of a tar that takes some, and ends at the first one behind them.

    Not at the last of them: only what follows it shows that the checksum of its frame has been looked at.

    Args:
        crcs: Name -> crc32c of the members to take.
        payloads: Whether what is stored is the payload, so that it can be compared.
    """

    def __init__(self, crcs: Mapping[str, int], payloads: bool) -> None:
        self._crcs, self._payloads, self._left = crcs, payloads, set(crcs)

    def select(self, name: str) -> bool:
        """Whether webdataset is to give out a member."""
        over = not self._left
        self._left.discard(name)
        return over or name in self._crcs

    def check(self, member: Mapping[str, Any]) -> bool:
        """Whether the walk goes on at what webdataset gave out: a member, or {} at the end of the tar.

        Raises:
            DataError: The member is damaged.
        """
        name = member.get("fname")
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
        """Make sure that everything was there.

        Raises:
            DataError: It was not.
        """
        if self._left:
            raise DataError(
                f"expected member {min(self._left)}, as the index has it, found none up to the end; the shard is "
                "truncated or another one: get a whole copy of the set"
            )
