"""Which samples each process streams in an epoch, as arithmetic: shards in sequence, cut into equal shares.

The shards stand in an order that is drawn anew for each epoch, as a ring: it begins anywhere, so that the tail which
is left over is another one in each epoch. Rank by rank, and within a rank worker by worker, each takes the next
stretch of the ring: as many samples as the loader will ask it for. A shard in which one stretch ends and the next
begins is read by both.
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
        begin: The first sample.
        end: Behind the last sample.
    """

    shard: int
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the streams of a rank a sample is found.

    Attributes:
        lane: Number of the stream: with W workers a rank has W streams, and batch i is of stream i % W.
        turn: Samples of the stream that come before it.
    """

    lane: int
    turn: int


def find_place(plan: Upcoming, position: int, lanes: int) -> Place:
    """Where a position of an epoch is found.

    Args:
        plan: Of this rank.
        position: As the `TrainSampler` gives it out.
        lanes: Streams of the rank: its workers, or 1.

    Raises:
        IndexError: The position is another rank's.
    """
    step, within = divmod(position, plan.step)
    within -= plan.rank * plan.share
    if not (0 <= within < plan.share and 0 <= step < plan.whole_steps):
        raise IndexError(f"position {position} is none of rank {plan.rank}'s: {plan}")
    batch, place = divmod(step * plan.share + within, plan.batch_size)
    return Place(lane=batch % lanes, turn=batch // lanes * plan.batch_size + place)


def lane_span(plan: Upcoming, lane: int, lanes: int) -> range:
    """The part of the ring that a stream takes; those of all lanes of all ranks follow on each other without a gap."""
    batches = len(plan) // plan.batch_size
    each, more = divmod(batches, lanes)
    before = lane * each + min(lane, more)
    first = plan.rank * len(plan) + before * plan.batch_size
    return range(first, first + (each + (lane < more)) * plan.batch_size)


def cut_ring(shard_sizes: Sequence[int], seed: int, epoch: int, span: range) -> list[Stretch]:
    """What a part of an epoch's ring is made of, in order.

    Args:
        shard_sizes: Samples of each shard; N is their sum.
        seed: Of the run.
        epoch: From 0.
        span: A part of range(N).
    """
    order = epoch_order([len(shard_sizes)], seed, epoch)
    ends = np.cumsum(np.asarray(shard_sizes)[order])
    total = int(ends[-1])
    at = (span.start + int(np.random.default_rng((seed, epoch)).integers(total))) % total
    found, left = [], len(span)
    while left:
        number = int(np.searchsorted(ends, at, side="right"))
        shard = int(order[number])
        begin = at - int(ends[number]) + shard_sizes[shard]
        end = min(begin + left, shard_sizes[shard])
        found.append(Stretch(shard=shard, begin=begin, end=end))
        left -= end - begin
        at = (at + end - begin) % total
    return found
