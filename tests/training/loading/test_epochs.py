"""Epochs of whole runs, without processes: what a DataLoader's workers, a trainer and its ranks make of the samplers.

6000 random runs (shard sizes, subset, ranks, workers, micro-batches, epoch, where it stops and goes on) and 6000 random
evaluations. The number of a case is its seed.
"""

from dataclasses import dataclass
from itertools import chain
from random import Random

import numpy as np
import pytest

from training.launch.world import World
from training.loading.order import epoch_order
from training.loading.sampler import EvalSampler, TrainSampler

CASES = 6000


@dataclass(frozen=True)
class Shape:
    """How a run is spread: ranks, micro-batch of a rank, workers of a rank."""

    ranks: int
    micro: int
    workers: int


@pytest.fixture
def become(monkeypatch):
    """A function that makes this process rank r of W, as far as samplers can see."""
    now = [World(0, 1)]
    monkeypatch.setattr(World, "current", staticmethod(lambda: now[0]))

    def become(rank: int, size: int) -> None:
        now[0] = World(rank, size)

    return become


def load(sampler, micro: int, workers: int) -> list[list[tuple[int, int]]]:
    """A DataLoader's batches: number i goes to worker i % W, each does its own in order, they are taken in order."""
    given_out = list(sampler)
    batches = [given_out[begin : begin + micro] for begin in range(0, len(given_out), micro)]
    if workers == 0:
        return batches
    queues = [iter(batches[worker::workers]) for worker in range(workers)]
    return [next(queues[number % workers]) for number in range(len(batches))]


def train(sampler: TrainSampler, shape: Shape, rows, become) -> list[list[int]]:
    """The samples of each optimizer step over all ranks, in rank order; every rank has the same number of steps."""
    accumulate = sampler.batch_size // (shape.ranks * shape.micro)
    ranks = []
    for rank in range(shape.ranks):
        become(rank, shape.ranks)
        micros = [[rows(*position) for position in batch] for batch in load(sampler, shape.micro, shape.workers)]
        assert len(sampler) == sampler.num_steps * accumulate * shape.micro  # whole, however little is left
        assert len(micros) % accumulate == 0
        assert {len(micro) for micro in micros} <= {shape.micro}
        ranks.append([[*chain(*micros[begin : begin + accumulate])] for begin in range(0, len(micros), accumulate)])
    return [[*chain(*parts)] for parts in zip(*ranks, strict=True)]


def draw_shape(random: Random, batch_size: int) -> Shape:
    ranks = random.choice([size for size in range(1, 9) if batch_size % size == 0])
    share = batch_size // ranks
    micro = random.choice([size for size in range(1, share + 1) if share % size == 0])
    return Shape(ranks, micro, random.randrange(5))


def draw_subset(random: Random) -> tuple[list[int], list[int]]:
    """Ids of the samples that a query leaves of a random set, and how many there are in each shard."""
    shards = [random.randint(1, 25), *(random.randrange(26) for _ in range(random.randrange(6)))]
    keep = random.choice([1, 1, 2, 3])
    ends = np.cumsum(shards).tolist()
    chosen = [range(end - size, end, keep) for end, size in zip(ends, shards, strict=True)]
    return [*chain(*chosen)], [len(part) for part in chosen]


def test_a_run_sees_each_sample_once_an_epoch_however_it_is_spread_stopped_and_resumed(become):
    for case in range(CASES):
        check_run(Random(case), become, case)


def check_run(random, become, case):
    ids, sizes = draw_subset(random)
    batch_size = random.randint(1, min(len(ids), 24))
    seed, epoch, step = random.getrandbits(32), random.randrange(10), random.randint(0, len(ids) // batch_size)
    first, second = draw_shape(random, batch_size), draw_shape(random, batch_size)
    orders = {number: np.array(ids)[epoch_order(sizes, seed, number)].tolist() for number in (epoch, epoch + 1)}

    def rows(number, place):
        return orders[number][place]

    def steps(number):
        return [orders[number][begin : begin + batch_size] for begin in range(0, len(ids) - batch_size + 1, batch_size)]

    sampler, resumed = TrainSampler(len(ids), batch_size), TrainSampler(len(ids), batch_size)
    sampler.set_epoch(epoch)
    whole = train(sampler, first, rows, become)
    seen = [*chain(*whole)]
    assert len(set(seen)) == len(seen) == len(ids) - len(ids) % batch_size, case  # each once but the dropped tail
    assert set(seen) <= set(ids), case
    assert whole == train(sampler, second, rows, become) == steps(epoch), case  # the same for any shape
    resumed.resume(epoch, step * batch_size)
    assert whole[:step] + train(resumed, second, rows, become) == whole, case  # what was left, and nothing else
    resumed.set_epoch(epoch + 1)
    assert train(resumed, second, rows, become) == steps(epoch + 1), case  # the next epoch is whole


def test_an_evaluation_counts_each_sample_once_in_equal_steps(become):
    for case in range(CASES):
        random = Random(case)
        count, ranks, batch_size = random.randint(1, random.choice([4, 60])), random.randint(1, 8), random.randint(1, 9)
        sampler, lengths, places = EvalSampler(count, batch_size), [], []
        for rank in range(ranks):
            become(rank, ranks)
            batches = load(sampler, batch_size, random.randrange(5))
            lengths.append([len(batch) for batch in batches])
            places += [place for batch in batches for epoch, place in batch if epoch == 0]
        # The datasets give a position beyond the last row weight 0.
        assert sorted(place for place in places if place < count) == list(range(count)), case
        assert len(places) - count < ranks, case  # less than one padding a rank
        assert all(steps == lengths[0] for steps in lengths), case
