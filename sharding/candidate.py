"""Candidates for a set: source files that belong together under one key, and what became of all others."""

from collections import Counter
from dataclasses import dataclass, field

from sharding.source import SourceFile


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Source files of one sample.

    Attributes:
        key: The sample's key.
        files: Role ("image", "depth", "mask") -> file.
        split, scene, scan, scene_type: As the index has them.
    """

    key: str
    files: dict[str, SourceFile]
    split: str = ""
    scene: str = ""
    scan: str = ""
    scene_type: str = ""

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
            pairing.refused.append(Refusal(key=key, files=names, reason="several source files lead to this key"))
        elif missing:
            pairing.refused.append(Refusal(key=key, files=names, reason=f"incomplete: no {' and no '.join(missing)}"))
        else:
            files = {role: file for candidate in found for role, file in candidate.files.items()}
            first = found[0]
            pairing.candidates.append(
                Candidate(
                    key=key,
                    files={role: files[role] for role in needed},
                    split=first.split,
                    scene=first.scene,
                    scan=first.scan,
                    scene_type=first.scene_type,
                )
            )
    return pairing
