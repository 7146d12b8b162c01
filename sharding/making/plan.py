"""What is to be made: the plan of a set. From a folder it assigns samples to shards before a file is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharding.format.choices import Compression
from sharding.format.shard import SUFFIX
from sharding.making.encode import Recipe
from sharding.making.same_set import encoder_versions, terms
from sharding.making.shard_job import ShardJob
from sharding.making.target import SetTarget, tell_room
from sharding.progress import Meter, say, spoken
from sharding.sources.layout import Layout
from sharding.sources.pairing import Candidate, Refusal
from sharding.sources.source import SourceFile


def plan_shards(candidates: Sequence[Candidate], shard_bytes: int, seed: int) -> list[list[Candidate]]:
    """Shuffle all candidates by `seed` and cut them into shards of about `shard_bytes` source bytes.

    The shuffle mixes scenes within every shard. A bad candidate is left out of its shard and moves no other, because
    boundaries depend on names and sizes alone.

    Args:
        candidates: In any order; their order does not matter.
        shard_bytes: A shard is full when it holds at least this many source bytes.
        seed: Seed of the shuffle.
    """
    # Sorted first, so that the order depends on keys and seed, not on how a file system lists them.
    ordered = sorted(candidates, key=lambda candidate: candidate.key)
    shards: list[list[Candidate]] = []
    room = 0
    for at in np.random.default_rng((seed, 0)).permutation(len(ordered)):
        if room <= 0:
            shards.append([])
            room = shard_bytes
        shards[-1].append(ordered[at])
        room -= ordered[at].bytes  # the candidate that fills a shard still belongs to it
    return shards


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """A set that is to be made.

    Attributes:
        target: Where it is written.
        name: Name of the set, with which file names of shards begin.
        recipe: How samples are encoded.
        compression: Compression of the shards.
        made: All options that change bytes.
        tool: Version of the program.
    """

    target: SetTarget
    name: str
    recipe: Recipe
    compression: Compression
    made: dict[str, Any]
    tool: str

    def terms(self, source: dict[str, Any]) -> dict[str, Any]:
        """Return all that determines its bytes if it is made from this source."""
        return terms(self.recipe.dataset, self.made, source) | encoder_versions()

    def shard_name(self, number: int) -> str:
        """Return the file name of a shard."""
        return f"{self.name}-{number:06d}{SUFFIX[self.compression]}"

    def announce(self, work: str) -> None:
        """Print the work to do and the free space."""
        say(f"{self.name}: {work}; {tell_room(self.target)}")

    def forecast(self, meter: Meter, read: str, needed: int, samples: int | None = None) -> None:
        """Print the time and space that the rest will take, extrapolated from the first shards.

        Args:
            meter: Counts the bytes that are read.
            read: Name of these bytes, such as "source files".
            needed: Bytes still to be written.
            samples: Number of samples still to come, if it has to be estimated.
        """
        rest = "" if samples is None else f": some {samples} samples"
        say(
            f"{self.name}: about {spoken(meter.seconds_left)} to go at {meter.rate / 1e6:.1f} MB/s of {read}{rest}, "
            f"{needed / 1e9:.2f} GB to be written, {tell_room(self.target, needed)}"
        )


@dataclass(frozen=True, kw_only=True)
class FolderPlan(SetPlan):
    """A set that is to be made from a folder, whose files are all known.

    Attributes:
        root: Source folder.
        shards: Planned candidates of each shard.
        refused: Files that pairing refused.
        source: Number of files, their bytes, and the fingerprint.
        files: The files that decide what is made.
    """

    root: str
    files: list[SourceFile]
    shards: list[list[Candidate]]
    refused: list[Refusal]
    source: dict[str, Any]

    @property
    def samples(self) -> int:
        """Planned samples."""
        return sum(map(len, self.shards))

    @property
    def bytes(self) -> int:
        """Source bytes."""
        return sum(candidate.bytes for shard in self.shards for candidate in shard)

    def jobs(self) -> list[ShardJob]:
        """Make a job for each shard."""
        return [
            ShardJob(
                root=self.root,
                target=self.target.address,
                name=self.shard_name(number),
                compression=self.compression,
                recipe=self.recipe,
                candidates=tuple(shard),
            )
            for number, shard in enumerate(self.shards)
        ]


@dataclass(frozen=True, kw_only=True)
class ArchivePlan(SetPlan):
    """A set that is to be made from an archive, whose files become known as it is read.

    Attributes:
        layout: Layout of its files.
        shard_bytes: Source bytes of a shard.
    """

    layout: Layout
    shard_bytes: int
