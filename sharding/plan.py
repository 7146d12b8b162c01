"""Which sample goes into which shard, decided before the first byte is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharding.candidate import Candidate, Refusal
from sharding.encode import Recipe
from sharding.shard import SUFFIX, Compression
from sharding.shardjob import ShardJob
from sharding.terms import encoder_versions, terms


def plan_shards(candidates: Sequence[Candidate], shard_bytes: int, seed: int) -> list[list[Candidate]]:
    """Shuffle all candidates by `seed` and cut them into shards of about `shard_bytes` source bytes.

    The shuffle mixes scenes within every shard. A candidate that turns out bad leaves a hole: boundaries follow from
    the source alone, so that they never move.

    Args:
        candidates: In any order; their order does not matter.
        shard_bytes: A shard is full when it holds at least this many source bytes.
        seed: Of the shuffle.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.key)
    shards: list[list[Candidate]] = []
    room = 0
    for at in np.random.default_rng((seed, 0)).permutation(len(ordered)):
        if room <= 0:
            shards.append([])
            room = shard_bytes
        shards[-1].append(ordered[at])
        room -= ordered[at].bytes
    return shards


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """A set that is to be made.

    Attributes:
        root: Source folder.
        target: Folder of the set.
        name: Of the set.
        recipe: How samples are encoded.
        compression: Of the shards.
        shards: Planned candidates of each shard.
        refused: What pairing already refused.
        header: Manifest fields that are known before: split, made, source.
    """

    root: str
    target: Path
    name: str
    recipe: Recipe
    compression: Compression
    shards: list[list[Candidate]]
    refused: list[Refusal]
    header: dict[str, Any]

    @property
    def samples(self) -> int:
        """Planned samples."""
        return sum(map(len, self.shards))

    @property
    def bytes(self) -> int:
        """Source bytes."""
        return sum(candidate.bytes for shard in self.shards for candidate in shard)

    @property
    def terms(self) -> dict[str, Any]:
        """What decides its bytes."""
        return terms(self.recipe.dataset, self.header["made"], self.header["source"]) | encoder_versions()

    def jobs(self) -> list[ShardJob]:
        """A job for each shard."""
        return [
            ShardJob(
                root=self.root,
                target=str(self.target),
                name=f"{self.name}-{number:06d}{SUFFIX[self.compression]}",
                compression=self.compression,
                recipe=self.recipe,
                candidates=tuple(shard),
            )
            for number, shard in enumerate(self.shards)
        ]
