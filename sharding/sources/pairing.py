"""Pair the files of a source, whose names are all known, into candidates; the others are refused or skipped."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sharding.format.origin import Origin
from sharding.sources.source import SourceFile


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Source files of one sample.

    Attributes:
        key: The sample's key.
        files: Role ("image", "depth", "mask") -> file.
        origin: Where it comes from.
    """

    key: str
    files: dict[str, SourceFile]
    origin: Origin = field(default_factory=Origin)

    @property
    def bytes(self) -> int:
        """Source bytes."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A line of `quarantine.jsonl`: source files that are not in the set, and the reason."""

    key: str
    files: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The result of pairing a list of files.

    Attributes:
        candidates: Complete samples, sorted by key.
        refused: Incomplete or contradictory ones.
        skipped: Number of files that belong to no sample, by reason.
    """

    candidates: list[Candidate] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePart:
    """What the name of a source file means: which file of which sample it is.

    Attributes:
        key: The sample's key.
        role: "image", "depth" or "mask".
        origin: Where the sample comes from.
    """

    key: str
    role: str
    origin: Origin = field(default_factory=Origin)

    def candidate(self, files: dict[str, SourceFile]) -> Candidate:
        """Make a candidate of this sample from its files, by role."""
        return Candidate(key=self.key, files=files, origin=self.origin)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A source file that belongs to no sample.

    Attributes:
        reason: Why it is skipped.
        refused: Whether it looks like a file of a sample and is refused by name; otherwise it is only counted.
    """

    reason: str
    refused: bool = False


DUPLICATE = "several source files lead to this key"
LOST = "a link that leads nowhere: mount or restore what it leads to, or remove it"


def sort_out(
    files: Sequence[SourceFile], parse: Callable[[str], SourcePart | SkippedFile], needed: tuple[str, ...]
) -> Pairing:
    """Pair files by their names.

    Args:
        files: In any order.
        parse: Parses a name.
        needed: Roles a complete sample has.
    """
    groups: dict[str, list[Candidate]] = {}
    others = Pairing()
    for file in files:
        parsed = parse(file.name)
        if isinstance(parsed, SourcePart):
            groups.setdefault(parsed.key, []).append(parsed.candidate({parsed.role: file}))
        elif file.lost:
            others.refused.append(Refusal(key="", files=(file.name,), reason=LOST))
        elif parsed.refused:
            others.refused.append(Refusal(key="", files=(file.name,), reason=parsed.reason))
        else:
            others.skipped[parsed.reason] += 1
    pairing = gather(groups, needed)
    pairing.refused.extend(others.refused)
    pairing.skipped.update(others.skipped)
    return pairing


def incomplete(missing: Sequence[str]) -> str:
    """Return the reason to refuse a sample without these roles."""
    return f"incomplete: no {' and no '.join(missing)}"


def gather(groups: dict[str, list[Candidate]], needed: tuple[str, ...]) -> Pairing:
    """Sort groups of partial candidates into complete ones and refused ones.

    Args:
        groups: Key -> candidates of one file each, found under that key.
        needed: Roles a complete sample has.

    Returns:
        The pairing, without skipped files. Two files in one role under one key are refused with all others of the key,
        because it is unknown which is meant.
    """
    pairing = Pairing()
    # Sorted, so that the result does not depend on the order of the files.
    for key, found in sorted(groups.items()):
        names = tuple(file.name for candidate in found for file in candidate.files.values())
        roles = [role for candidate in found for role in candidate.files]
        missing = [role for role in needed if role not in roles]
        if len(set(roles)) < len(roles):  # before `missing`, which is not the reason then
            pairing.refused.append(Refusal(key=key, files=names, reason=DUPLICATE))
        elif missing:
            pairing.refused.append(Refusal(key=key, files=names, reason=incomplete(missing)))
        else:
            files = {role: file for candidate in found for role, file in candidate.files.items()}
            # In the order of `needed`, whatever the order of the files.
            wanted = {role: files[role] for role in needed}
            pairing.candidates.append(Candidate(key=key, files=wanted, origin=found[0].origin))
    return pairing
