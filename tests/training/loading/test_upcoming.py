"""The upcoming batches of a worker, against the batches that the real loader cuts and deals out."""

import pickle
from itertools import chain
from random import Random

import pytest
from torch.utils.data import DataLoader, Dataset, get_worker_info

from training.launch.world import World
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler, TrainSampler
from training.loading.upcoming import freeze_plan

CASES = 3000


@pytest.fixture
def become(monkeypatch):
    """A function that makes this process rank r of W, as far as samplers can see."""
    now = [World(0, 1)]
    monkeypatch.setattr(World, "current", staticmethod(lambda: now[0]))

    def become(rank: int, size: int) -> None:
        now[0] = World(rank, size)

    return become


def cut(sampler, batch_size: int) -> list[list[int]]:
    """The positions of the batches that a real DataLoader makes of a sampler, in order."""
    loader = DataLoader(range(10**6), batch_size=batch_size, sampler=sampler)
    return [[position for _, position in batch] for batch in loader.batch_sampler]


def check(sampler, batch_size: int, workers: int) -> int:
    """Compare every batch's followers with what the loader deals out: batch i goes to worker i % W."""
    batches, upcoming = cut(sampler, batch_size), sampler.upcoming(batch_size)
    for number, batch in enumerate(batches):
        assert list(upcoming.following(batch[0], workers)) == batches[number + max(1, workers) :: max(1, workers)]
    return len(batches)


def test_training_batches_are_foreseen_for_any_world_micro_batch_workers_and_resumption(become):
    seen = 0
    for case in range(CASES):
        random = Random(case)
        ranks, share = random.randint(1, 6), random.randint(1, 6)
        count = random.randint(ranks * share, 90 + ranks * share)
        sampler = TrainSampler(count, ranks * share)
        if random.random() < 0.5:
            sampler.resume(2, random.randint(0, sampler.num_steps) * sampler.batch_size)
        become(random.randrange(ranks), ranks)
        divisors = [size for size in range(1, share + 1) if share % size == 0]
        # One that divides the share, as the trainers have it; and any other, whose batches span steps.
        batch_size = random.choice([*divisors, random.randint(1, 9)])
        seen += check(sampler, batch_size, random.randrange(5))
    assert seen > CASES


def test_evaluation_batches_are_foreseen_also_the_last_uneven_ones(become):
    for case in range(CASES):
        random = Random(case)
        ranks, size = random.randint(1, 6), random.randint(1, 6)
        sampler = EvalSampler(random.randint(1, 60), size)
        become(random.randrange(ranks), ranks)
        assert check(sampler, random.choice([size, random.randint(1, 9)]), random.randrange(5)) > 0


def test_nothing_follows_a_position_of_another_rank(become):
    become(1, 3)
    upcoming = TrainSampler(40, 12).upcoming(4)
    own = set(chain.from_iterable(cut(TrainSampler(40, 12), 4)))
    assert own == {4, 5, 6, 7, 16, 17, 18, 19, 28, 29, 30, 31}
    assert {place for place in range(36) if list(upcoming.following(place, 0))} == own - {28, 29, 30, 31}
    assert not any(list(upcoming.following(place, 0)) for place in (36, 39, 40, 1000))


class Foreseen(Dataset):
    """Each item of a batch is the batch and what the worker that made it expects after it."""

    def __init__(self, upcoming):
        self.upcoming = upcoming

    def __getitems__(self, indices):
        positions, worker = [position for _, position in indices], get_worker_info()
        return [(worker.id, positions, list(self.upcoming.following(positions[0], worker.num_workers)))]

    def __len__(self):
        return 1


def test_a_frozen_plan_pickles_and_stays_as_it_was(become):
    sampler = TrainSampler(40, 12)
    plan = freeze_plan(lambda: sampler.upcoming(4))
    become(1, 3)
    assert pickle.loads(pickle.dumps(plan))() == plan() != sampler.upcoming(4)


def test_real_workers_are_asked_for_what_they_foresee():
    sampler = TrainSampler(41, 6)
    loading = Loading(batch_size=3, num_workers=2, start_method="fork", timeout_s=60)
    loader = build_loader(Foreseen(sampler.upcoming(3)), sampler, loading, collate_fn=lambda items: items[0])
    for epoch, consumed in ((0, 0), (1, 0), (2, 12)):  # the workers live on
        sampler.resume(epoch, consumed)
        made = list(loader)
        assert len(made) == (36 - consumed) // 3
        for number, (_, _, following) in enumerate(made):
            assert following == [positions for _, positions, _ in made[number + 2 :: 2]]
            assert {worker for worker, _, _ in made[number::2]} == {number % 2}
