"""Which samples each process streams in an epoch, as arithmetic: shards in sequence, cut into equal shares.

The shards are shuffled for each epoch and joined to a ring. It starts at a random sample, so that each epoch drops
another tail. Rank by rank, and within a rank worker by worker, each takes the next stretch of the ring: as many samples
as the loader will ask it for. A shard in which one stretch ends and the next begins is read by both. With three shards,
two ranks of two workers (lanes) and 8 of 9 samples:

    ring, from its start    B1 B2 | A0 A1 | A2 C0 | C1 C2 | B0
    rank, lane               0, 0 |  0, 1 |  1, 0 |  1, 1 | dropped
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.loading.order import epoch_order
from training.loading.upcoming import Upcoming


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive samples of a shard.

    Attributes:
        shard: Its number.
        begin: Index of the first sample in the shard.
        end: One past the index of the last sample.
    """

    shard: int
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """The location of a sample in the streams of a rank.

    Attributes:
        lane: Number of the stream: a rank with W workers has W streams, and batch i is from stream i % W.
        turn: Number of samples before it in the stream.
    """

    lane: int
    turn: int


def find_place(plan: Upcoming, position: int, lanes: int) -> Place:
    """Find the stream, and the place in it, of a position of an epoch.

    Args:
        plan: This rank's positions in an epoch.
        position: As the `TrainSampler` yields it.
        lanes: Streams of the rank: its workers, or 1.

    Raises:
        IndexError: The position is not one of this rank's.
    """
    step, within = divmod(position, plan.step)
    within -= plan.rank * plan.share
    if not (0 <= within < plan.share and 0 <= step < plan.whole_steps):
        raise IndexError(f"position {position} is none of rank {plan.rank}'s: {plan}")
    # step * share + within numbers the rank's positions from 0; the loader cuts these into batches.
    batch, place = divmod(step * plan.share + within, plan.batch_size)
    return Place(lane=batch % lanes, turn=batch // lanes * plan.batch_size + place)


def lane_span(plan: Upcoming, lane: int, lanes: int) -> range:
    """Return the part of the ring that a stream takes; those of all lanes of all ranks are adjacent, without a gap."""
    # Batch i is of lane i % lanes, so the first `more` lanes have one batch more than the others.
    batches = len(plan) // plan.batch_size
    each, more = divmod(batches, lanes)
    before = lane * each + min(lane, more)
    first = plan.rank * len(plan) + before * plan.batch_size
    return range(first, first + (each + (lane < more)) * plan.batch_size)


def cut_ring(shard_sizes: Sequence[int], seed: int, epoch: int, span: range) -> list[Stretch]:
    """List the stretches of shards in a part of an epoch's ring, in order.

    Args:
        shard_sizes: (S,) samples per shard; N is their sum.
        seed: The run's seed.
        epoch: Counts from 0.
        span: A part of range(N), counted from the start of the ring.
    """
    order = epoch_order([len(shard_sizes)], seed, epoch)  # (S,) of the shards, not of samples
    ends = np.cumsum(np.asarray(shard_sizes)[order])  # (S,) one past each shard's last sample, in this order
    total = int(ends[-1])
    # The start of the ring is drawn from seed and epoch alone, so that all ranks and workers agree on it.
    at = (span.start + int(np.random.default_rng((seed, epoch)).integers(total))) % total
    found, left = [], len(span)
    while left:
        # side="right" skips shards without samples: they end where the one before ends.
        number = int(np.searchsorted(ends, at, side="right"))
        shard = int(order[number])
        begin = at - int(ends[number]) + shard_sizes[shard]  # within the shard
        end = min(begin + left, shard_sizes[shard])
        found.append(Stretch(shard=shard, begin=begin, end=end))
        left -= end - begin
        at = (at + end - begin) % total
    return found
