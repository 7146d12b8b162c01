"""Which sample goes into which shard, decided before the first byte is read."""

from collections.abc import Sequence

import numpy as np

from sharding.candidate import Candidate


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
