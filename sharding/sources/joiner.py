"""Join files that arrive in any order into complete samples. Memory is bounded: files that wait long go to disk."""

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
        candidate: Its files, as `pairing` of the whole list would give them.
        payloads: Role -> bytes.
    """

    candidate: Candidate
    payloads: dict[str, bytes]


class Payloads:
    """The files of a sample in memory, as a source.

    Args:
        joined: The sample.
    """

    def __init__(self, joined: Joined) -> None:
        self._bytes = {file.name: joined.payloads[role] for role, file in joined.candidate.files.items()}

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return self._bytes[name]

    def path_of(self, name: str) -> str:
        """Return the path in the archive, which is the name itself."""
        return name


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Files of one key that wait for others: what a later run needs to resume.

    Attributes:
        kept: Names, sizes and places of those on disk.
        held: Names of those in memory, which must be read again.
        contradicted: Names of all files of the key, if two of them have one role; then none of them waits.
    """

    kept: tuple[tuple[SourceFile, SpoolPlace], ...] = ()
    held: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()


@dataclass
class _Group:
    """Files of one key.

    Attributes:
        part: What the name of the first one means.
        files: Role -> file.
        payloads: Role -> number in the spool.
        ages: Role -> age in the spool.
        names: Of all files so far.
        contradicted: Whether two of them have one role; then all files of the key are refused.
    """

    part: SourcePart
    files: dict[str, SourceFile] = field(default_factory=dict)
    payloads: dict[str, int] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    contradicted: bool = False


class Joiner:
    """Collects files until samples are complete.

    The result is that of `Layout.pair` for the whole list, with one difference that a stream cannot avoid: a second
    file in one role that arrives after its sample was complete is too late to refuse the sample; it is refused alone.

    Args:
        parse: Parses a name: `megadepth.parse` or `diode.parse` with their options.
        needed: Roles that a complete sample has.
        spool: Where payloads wait.

    Attributes:
        skipped: Number of files that belong to no sample, by reason.
        refused: Misnamed files, and second ones that arrived too late.
        matched: Number of files that belong to a sample.
        spool: As given.
    """

    def __init__(self, parse: Callable[[str], SourcePart | SkippedFile], needed: tuple[str, ...], spool: Spool) -> None:
        self._parse, self._needed, self.spool = parse, needed, spool
        self._waiting: dict[str, _Group] = {}  # by key; contradicted ones stay to the end, to be refused
        self._finished: set[str] = set()  # keys of complete samples, to find duplicates that arrive later
        self.skipped: Counter[str] = Counter()
        self.refused: list[Refusal] = []
        self.matched = 0

    def wants(self, name: str, num_bytes: int) -> bool:
        """Tell whether the bytes of a file are needed, for `MemberReader`."""
        return isinstance(self._parse(name), SourcePart)

    def add(self, name: str, num_bytes: int, data: bytes | None, age: int = 0) -> Joined | None:
        """Add a file; return the sample that it completes, if it does.

        Args:
            name: Name of the file.
            num_bytes: Its size.
            data: Its bytes; may be None if `wants` is False.
            age: Its offset in the archive, for example; see `Spool.put`.

        Raises:
            OSError: The disk is full.
            DataError: A file that waited on disk is damaged.
        """
        parsed = self._parse(name)
        if isinstance(parsed, SkippedFile):
            self._skip(name, parsed)
            return None
        self.matched += 1
        if parsed.key in self._finished:
            self.refused.append(
                Refusal(key=parsed.key, files=(name,), reason=f"{DUPLICATE}; the one that was complete first is taken")
            )
            return None
        assert data is not None  # `wants` is True for it
        waiting = self._waiting.setdefault(parsed.key, _Group(parsed))
        waiting.names.append(name)  # `leftovers` refuses all names of the key, also those without payload
        if waiting.contradicted or parsed.role in waiting.files:
            self._contradict(waiting)
            return None
        waiting.files[parsed.role] = SourceFile(name, num_bytes)
        if len(waiting.files) == len(self._needed):
            return self._complete(waiting, parsed.role, data)
        waiting.payloads[parsed.role], waiting.ages[parsed.role] = self.spool.put(data, age), age
        return None

    def _skip(self, name: str, file: SkippedFile) -> None:
        if file.refused:
            self.refused.append(Refusal(key="", files=(name,), reason=file.reason))
        else:
            self.skipped[file.reason] += 1

    def _contradict(self, waiting: _Group) -> None:
        for number in waiting.payloads.values():  # the names are enough to refuse the key at the end
            self.spool.drop(number)
        waiting.payloads.clear()
        waiting.contradicted = True

    def _complete(self, waiting: _Group, role: str, data: bytes) -> Joined:
        key = waiting.part.key
        del self._waiting[key]
        self._finished.add(key)
        # The last file never enters the spool.
        payloads = {role: data} | {other: self.spool.take(number) for other, number in waiting.payloads.items()}
        return Joined(
            candidate=waiting.part.candidate({role: waiting.files[role] for role in self._needed}),
            payloads={role: payloads[role] for role in self._needed},  # in this order, whatever arrived first
        )

    def oldest_held(self) -> int | None:
        """Return the age of the oldest file that waits in memory; None if none does."""
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
        """Return the files that wait now, for `restore` in a later run."""
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
        """Restore the state of an earlier joiner, but for its files in memory, which must be added again.

        Args:
            waiting: Result of its `waiting`.
            finished: Keys of complete samples.

        Returns:
            Whether all its files on disk are still there and undamaged; if not, this joiner must not be used.
        """
        self._finished.update(finished)
        # Files in memory (`held`) are not restored here: `Arrivals` reads them again from the archive and adds them.
        return all(self._restore(one) for one in waiting)

    def _restore(self, waiting: Waiting) -> bool:
        for name in waiting.contradicted:
            self._group(name)[0].contradicted = True
        for file, place in waiting.kept:
            group, role = self._group(file.name)
            number = self.spool.adopt(place)
            if number is None:
                return False
            group.files[role], group.payloads[role], group.ages[role] = file, number, 0  # on disk: age is unused
        return True

    def _group(self, name: str) -> tuple[_Group, str]:
        """Return the group of a file that an earlier run added, and its role."""
        parsed = self._parse(name)
        assert isinstance(parsed, SourcePart)
        group = self._waiting.setdefault(parsed.key, _Group(parsed))
        group.names.append(name)
        return group, parsed.role

    def leftovers(self) -> list[Refusal]:
        """Refuse all that is still incomplete or contradictory at the end, sorted by key."""
        return [self._leftover(key, waiting) for key, waiting in sorted(self._waiting.items())]

    def _leftover(self, key: str, waiting: _Group) -> Refusal:
        missing = [role for role in self._needed if role not in waiting.files]
        reason = DUPLICATE if waiting.contradicted else incomplete(missing)
        return Refusal(key=key, files=tuple(waiting.names), reason=reason)

    def close(self) -> None:
        """Release memory and disk."""
        self.spool.close()
