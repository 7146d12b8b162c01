"""Candidates for a set: source files that belong together under one key, and what became of all others."""

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
    """A line of `quarantine.jsonl`: source files that are not in the set, and why."""

    key: str
    files: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What pairing made of a list of files.

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
    """What the name of a source file says: which file of which sample it is.

    Attributes:
        key: The sample's key.
        role: "image", "depth" or "mask".
        origin: Where the sample comes from.
    """

    key: str
    role: str
    origin: Origin = field(default_factory=Origin)

    def candidate(self, files: dict[str, SourceFile]) -> Candidate:
        """A candidate of this sample with the files, by role."""
        return Candidate(key=self.key, files=files, origin=self.origin)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A source file that belongs to no sample.

    Attributes:
        reason: Why.
        refused: Whether it looks like a file of a sample, and so is refused by name; otherwise it is counted.
    """

    reason: str
    refused: bool = False


DUPLICATE = "several source files lead to this key"


def sort_out(
    files: Sequence[SourceFile], parse: Callable[[str], SourcePart | SkippedFile], needed: tuple[str, ...]
) -> Pairing:
    """Pair files by what their names say.

    Args:
        files: In any order.
        parse: From a name to what it says.
        needed: Roles a complete sample has.
    """
    groups: dict[str, list[Candidate]] = {}
    asides = Pairing()
    for file in files:
        said = parse(file.name)
        if isinstance(said, SourcePart):
            groups.setdefault(said.key, []).append(said.candidate({said.role: file}))
        elif said.refused:
            asides.refused.append(Refusal(key="", files=(file.name,), reason=said.reason))
        else:
            asides.skipped[said.reason] += 1
    pairing = gather(groups, needed)
    pairing.refused.extend(asides.refused)
    pairing.skipped.update(asides.skipped)
    return pairing


def incomplete(missing: Sequence[str]) -> str:
    """The reason for which a sample without these roles is refused."""
    return f"incomplete: no {' and no '.join(missing)}"


def gather(groups: dict[str, list[Candidate]], needed: tuple[str, ...]) -> Pairing:
    """Sort groups of partial candidates into complete ones and refused ones.

    Args:
        groups: Key -> candidates of one file each, found under that key.
        needed: Roles a complete sample has.

    Returns:
        The pairing, without skipped files. Two files in one role under one key are refused together, for nobody can
        say which is meant.
    """
    pairing = Pairing()
    for key, found in sorted(groups.items()):
        names = tuple(file.name for candidate in found for file in candidate.files.values())
        roles = [role for candidate in found for role in candidate.files]
        missing = [role for role in needed if role not in roles]
        if len(set(roles)) < len(roles):
            pairing.refused.append(Refusal(key=key, files=names, reason=DUPLICATE))
        elif missing:
            pairing.refused.append(Refusal(key=key, files=names, reason=incomplete(missing)))
        else:
            files = {role: file for candidate in found for role, file in candidate.files.items()}
            wanted = {role: files[role] for role in needed}
            pairing.candidates.append(Candidate(key=key, files=wanted, origin=found[0].origin))
    return pairing
