"""Joins files that arrive in any order into complete samples. Memory is bounded: what waits long goes to disk."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sharding.sources.pairing import DUPLICATE, Candidate, Refusal, SkippedFile, SourcePart, incomplete
from sharding.sources.source import SourceFile
from sharding.sources.spool import Spool, SpoolPlace


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A complete sample.

    Attributes:
        candidate: Its files, as pairing of the whole list would give them.
        payloads: Role -> bytes.
    """

    candidate: Candidate
    payloads: dict[str, bytes]


class Payloads:
    """Files in memory as a source.

    Args:
        joined: A sample with the bytes of its files.
    """

    def __init__(self, joined: Joined) -> None:
        self._bytes = {file.name: joined.payloads[role] for role, file in joined.candidate.files.items()}

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return self._bytes[name]

    def path_of(self, name: str) -> str:
        """In the archive."""
        return name


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Files of one key that wait for others: what a later run needs to go on waiting.

    Attributes:
        kept: Names, sizes and places of those that wait on disk.
        held: Names of those that wait in memory: they must be read again.
        contradicted: Names of all that came, if two of them have one role; none of them waits then.
    """

    kept: tuple[tuple[SourceFile, SpoolPlace], ...] = ()
    held: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()


@dataclass
class _Group:
    """Files of one key. `contradicted`: two of them have one role, so all that come under the key are refused."""

    part: SourcePart
    files: dict[str, SourceFile] = field(default_factory=dict)
    payloads: dict[str, int] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    contradicted: bool = False


class Joiner:
    """Collects files until all of a sample are there.

    It gives what `pair` gives for the whole list, with one difference that a stream cannot avoid: a second file in
    one role that arrives after its sample was complete comes too late to refuse the sample; it is refused alone.

    Args:
        parse: From a name to what it says: `megadepth.parse` or `diode.parse` with their options.
        needed: Roles a complete sample has.
        spool: Where payloads wait.

    Attributes:
        skipped: Number of files that belong to no sample, by reason.
        refused: Misnamed files, and second ones that came too late.
        matched: Number of files that belong to a sample.
        spool: As given.
    """

    def __init__(self, parse: Callable[[str], SourcePart | SkippedFile], needed: tuple[str, ...], spool: Spool) -> None:
        self._parse, self._needed, self.spool = parse, needed, spool
        self._waiting: dict[str, _Group] = {}
        self._finished: set[str] = set()
        self.skipped: Counter[str] = Counter()
        self.refused: list[Refusal] = []
        self.matched = 0

    def wants(self, name: str, num_bytes: int) -> bool:
        """Whether the bytes of a file are needed: what a `MemberReader` asks."""
        return isinstance(self._parse(name), SourcePart)

    def add(self, name: str, num_bytes: int, data: bytes | None, age: int = 0) -> Joined | None:
        """Take in a file; returns the sample that it completes, if it does.

        Args:
            name: Of the file.
            num_bytes: Its size.
            data: Its bytes; may be None where `wants` says no.
            age: Where it stands in the archive, say; see `Spool.put`.

        Raises:
            OSError: The disk is full.
            DataError: What waited on disk is damaged.
        """
        said = self._parse(name)
        if isinstance(said, SkippedFile):
            self._set_aside(name, said)
            return None
        self.matched += 1
        if said.key in self._finished:
            self.refused.append(
                Refusal(key=said.key, files=(name,), reason=f"{DUPLICATE}; the one that was complete first is taken")
            )
            return None
        assert data is not None
        waiting = self._waiting.setdefault(said.key, _Group(said))
        waiting.names.append(name)
        if waiting.contradicted or said.role in waiting.files:
            self._contradict(waiting)
            return None
        waiting.files[said.role] = SourceFile(name, num_bytes)
        if len(waiting.files) == len(self._needed):
            return self._complete(waiting, said.role, data)
        waiting.payloads[said.role], waiting.ages[said.role] = self.spool.put(data, age), age
        return None

    def _set_aside(self, name: str, said: SkippedFile) -> None:
        if said.refused:
            self.refused.append(Refusal(key="", files=(name,), reason=said.reason))
        else:
            self.skipped[said.reason] += 1

    def _contradict(self, waiting: _Group) -> None:
        for number in waiting.payloads.values():
            self.spool.drop(number)
        waiting.payloads.clear()
        waiting.contradicted = True

    def _complete(self, waiting: _Group, role: str, data: bytes) -> Joined:
        key = waiting.part.key
        del self._waiting[key]
        self._finished.add(key)
        payloads = {role: data} | {other: self.spool.take(number) for other, number in waiting.payloads.items()}
        return Joined(
            candidate=waiting.part.candidate({role: waiting.files[role] for role in self._needed}),
            payloads={role: payloads[role] for role in self._needed},
        )

    def oldest_held(self) -> int | None:
        """Age of the oldest file that waits in memory, None if none does."""
        return min(
            (
                waiting.ages[role]
                for waiting in self._waiting.values()
                for role, number in waiting.payloads.items()
                if self.spool.place(number) is None
            ),
            default=None,
        )

    def waiting(self) -> list[Waiting]:
        """What waits now, for `restore` in a later run."""
        return [self._describe(group) for group in self._waiting.values()]

    def _describe(self, group: _Group) -> Waiting:
        if group.contradicted:
            return Waiting(contradicted=tuple(group.names))
        places = {role: self.spool.place(number) for role, number in group.payloads.items()}
        return Waiting(
            kept=tuple((group.files[role], place) for role, place in places.items() if place),
            held=tuple(group.files[role].name for role, place in places.items() if not place),
        )

    def restore(self, waiting: Iterable[Waiting], finished: Iterable[str]) -> bool:
        """Go on where an earlier joiner was, whose held files will be added again.

        Args:
            waiting: What it said.
            finished: Keys that were complete.

        Returns:
            Whether all that it kept on disk is still there and whole; if not, this joiner is of no use.
        """
        self._finished.update(finished)
        return all(self._restore(one) for one in waiting)

    def _restore(self, waiting: Waiting) -> bool:
        for name in waiting.contradicted:
            self._group(name)[0].contradicted = True
        for file, place in waiting.kept:
            group, role = self._group(file.name)
            number = self.spool.adopt(place)
            if number is None:
                return False
            group.files[role], group.payloads[role], group.ages[role] = file, number, 0
        return True

    def _group(self, name: str) -> tuple[_Group, str]:
        """The group of a file that an earlier run took in, and its role."""
        said = self._parse(name)
        assert isinstance(said, SourcePart)
        group = self._waiting.setdefault(said.key, _Group(said))
        group.names.append(name)
        return group, said.role

    def leftovers(self) -> list[Refusal]:
        """What is incomplete or contradictory when nothing more will come, by name, sorted by key."""
        return [self._leftover(key, waiting) for key, waiting in sorted(self._waiting.items())]

    def _leftover(self, key: str, waiting: _Group) -> Refusal:
        missing = [role for role in self._needed if role not in waiting.files]
        reason = DUPLICATE if waiting.contradicted else incomplete(missing)
        return Refusal(key=key, files=tuple(waiting.names), reason=reason)

    def close(self) -> None:
        """Give memory and disk back."""
        self.spool.close()
