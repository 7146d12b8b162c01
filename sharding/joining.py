"""Joins files that arrive in any order into complete samples. Memory is bounded: what waits long goes to disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sharding.candidate import DUPLICATE, Aside, Candidate, Part, Refusal, incomplete
from sharding.source import SourceFile
from sharding.spool import Spool

MEMORY_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A complete sample.

    Attributes:
        candidate: Its files, as pairing of the whole list would give them.
        payloads: Role -> bytes.
    """

    candidate: Candidate
    payloads: dict[str, bytes]


@dataclass
class _Waiting:
    """Files of one key. `contradicted`: two of them have one role, so all that come under the key are refused."""

    part: Part
    files: dict[str, SourceFile] = field(default_factory=dict)
    payloads: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    contradicted: bool = False


class Joiner:
    """Collects files until all of a sample are there.

    It gives what `pair` gives for the whole list, with one difference that a stream cannot avoid: a second file in
    one role that arrives after its sample was complete comes too late to refuse the sample; it is refused alone.

    Args:
        parse: From a name to what it says: `megadepth.parse` or `diode.parse` with their options.
        needed: Roles a complete sample has.
        memory_bytes: Bound of the payloads that wait in memory.
        folder: An existing folder for the payloads beyond that; None for the system's.

    Attributes:
        skipped: Number of files that belong to no sample, by reason.
        refused: Misnamed files, and second ones that came too late.
        spool: Where payloads wait.
    """

    def __init__(
        self,
        parse: Callable[[str], Part | Aside],
        needed: tuple[str, ...],
        memory_bytes: int = MEMORY_BYTES,
        folder: Path | None = None,
    ) -> None:
        self._parse, self._needed = parse, needed
        self._waiting: dict[str, _Waiting] = {}
        self._finished: set[str] = set()
        self.spool = Spool(memory_bytes, folder)
        self.skipped: Counter[str] = Counter()
        self.refused: list[Refusal] = []

    def wants(self, name: str, num_bytes: int) -> bool:
        """Whether the bytes of a file are needed: what a `MemberReader` asks."""
        return isinstance(self._parse(name), Part)

    def add(self, name: str, num_bytes: int, data: bytes | None) -> Joined | None:
        """Take in a file; returns the sample that it completes, if it does.

        Args:
            name: Of the file.
            num_bytes: Its size.
            data: Its bytes; may be None where `wants` says no.

        Raises:
            OSError: The disk is full.
        """
        said = self._parse(name)
        if isinstance(said, Aside):
            self._set_aside(name, said)
            return None
        if said.key in self._finished:
            self.refused.append(
                Refusal(key=said.key, files=(name,), reason=f"{DUPLICATE}; the one that was complete first is taken")
            )
            return None
        assert data is not None
        waiting = self._waiting.setdefault(said.key, _Waiting(said))
        waiting.names.append(name)
        if waiting.contradicted or said.role in waiting.files:
            self._contradict(waiting)
            return None
        waiting.files[said.role] = SourceFile(name, num_bytes)
        if len(waiting.files) == len(self._needed):
            return self._complete(waiting, said.role, data)
        waiting.payloads[said.role] = self.spool.put(data)
        return None

    def _set_aside(self, name: str, said: Aside) -> None:
        if said.refused:
            self.refused.append(Refusal(key="", files=(name,), reason=said.reason))
        else:
            self.skipped[said.reason] += 1

    def _contradict(self, waiting: _Waiting) -> None:
        for number in waiting.payloads.values():
            self.spool.drop(number)
        waiting.payloads.clear()
        waiting.contradicted = True

    def _complete(self, waiting: _Waiting, role: str, data: bytes) -> Joined:
        key = waiting.part.key
        del self._waiting[key]
        self._finished.add(key)
        payloads = {role: data} | {other: self.spool.take(number) for other, number in waiting.payloads.items()}
        return Joined(
            candidate=waiting.part.candidate({role: waiting.files[role] for role in self._needed}),
            payloads={role: payloads[role] for role in self._needed},
        )

    def leftovers(self) -> list[Refusal]:
        """What is incomplete or contradictory when nothing more will come, by name, sorted by key."""
        return [self._leftover(key, waiting) for key, waiting in sorted(self._waiting.items())]

    def _leftover(self, key: str, waiting: _Waiting) -> Refusal:
        missing = [role for role in self._needed if role not in waiting.files]
        reason = DUPLICATE if waiting.contradicted else incomplete(missing)
        return Refusal(key=key, files=tuple(waiting.names), reason=reason)

    def close(self) -> None:
        """Give memory and disk back."""
        self.spool.close()
