import pickle
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from sharding.errors import UsageError
from training.launch.world import World
from training.loading.order import epoch_order
from training.loading.sampler import EvalSampler, TrainSampler

unhurried = settings(deadline=None)  # the machine may be busy


@contextmanager
def as_rank(rank: int, size: int):
    """Inside, this process is `rank` of `size`; real processes are in test_sampler_ddp.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "current", staticmethod(lambda: World(rank, size)))
        yield


def positions(sampler, size: int) -> list[list[int]]:
    """The positions of each rank of a world, len() checked on the way."""
    seen = []
    for rank in range(size):
        with as_rank(rank, size):
            seen.append([position for _, position in sampler])
    return seen


def union(ranks: list[list[int]]) -> list[int]:
    """All positions that any rank saw, ascending, with repetitions."""
    return sorted(position for rank in ranks for position in rank)


def global_batches(sampler: TrainSampler, size: int) -> list[list[int]]:
    """Each step's positions over all ranks, in rank order."""
    share = sampler.batch_size // size
    ranks = [np.reshape(rank, (-1, share)) for rank in positions(sampler, size)]
    return np.concatenate(ranks, axis=1).tolist()


class Echo(Dataset):
    """Gives back what it is asked for."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item


def loaded(sampler, batch_size: int, num_workers: int = 0) -> list[list[tuple[int, int]]]:
    """What a DataLoader's batches hold: (epoch, position) pairs."""
    loader = DataLoader(Echo(), batch_size, sampler=sampler, num_workers=num_workers)
    return [list(zip(epoch.tolist(), position.tolist(), strict=True)) for epoch, position in loader]


train_setups = st.integers(1, 8).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(1, 6).map(lambda share: share * size), st.integers(0, 100))
)  # (world, global batch, samples beyond one batch)


@unhurried
@given(train_setups)
def test_an_epoch_has_every_position_once_but_the_tail(setup):
    size, batch, more = setup
    ranks = positions(TrainSampler(batch + more, batch), size)
    trained = (batch + more) // batch * batch
    assert union(ranks) == list(range(trained))
    assert {len(rank) for rank in ranks} == {trained // size}


@unhurried
@given(train_setups, st.integers(0, 5))
def test_the_length_is_exact_on_every_rank(setup, epoch):
    size, batch, more = setup
    sampler = TrainSampler(batch + more, batch)
    sampler.set_epoch(epoch)
    for rank in range(size):
        with as_rank(rank, size):
            assert len(list(sampler)) == len(sampler) == sampler.num_steps * batch // size


@unhurried
@given(train_setups)
def test_a_rank_takes_consecutive_positions_of_each_global_batch(setup):
    size, batch, more = setup
    batches = global_batches(TrainSampler(batch + more, batch), size)
    assert batches == [list(range(first, first + batch)) for first in range(0, more + 1, batch)]


@pytest.mark.parametrize("epoch", [0, 3])
def test_global_batches_are_the_same_for_any_world(epoch):
    sampler, order = TrainSampler(45, 8), epoch_order([45], 7, epoch)
    sampler.set_epoch(epoch)
    batches = {size: order[global_batches(sampler, size)].tolist() for size in (1, 2, 4, 8)}
    assert batches[1] == batches[2] == batches[4] == batches[8] == order[:40].reshape(5, 8).tolist()


def test_the_epoch_rides_with_each_position():
    sampler = TrainSampler(5, 2)
    assert list(sampler) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    sampler.set_epoch(9)
    assert list(sampler) == [(9, 0), (9, 1), (9, 2), (9, 3)]


def test_the_world_is_read_when_it_is_needed():
    train, evaluate = TrainSampler(16, 8), EvalSampler(15, 4)
    assert (len(train), len(evaluate), train.rank, train.num_replicas) == (16, 15, 0, 1)
    with as_rank(1, 2):
        assert (len(train), len(evaluate), train.rank, train.num_replicas) == (8, 8, 1, 2)
        assert [position for _, position in train] == [4, 5, 6, 7, 12, 13, 14, 15]


@pytest.mark.parametrize("sampler", [TrainSampler(9, 3), EvalSampler(9, 3)])
def test_samplers_are_distributed_samplers_and_pickle(sampler):
    assert isinstance(sampler, DistributedSampler)
    assert list(pickle.loads(pickle.dumps(sampler))) == list(sampler)


@pytest.mark.parametrize(
    ("num_samples", "batch", "size", "advice"),
    [
        (100, 10, 4, "10 samples cannot be split evenly over 4 processes; choose a batch size of 8 or 12, or 2 proc"),
        (10, 10, 4, "10 samples cannot be split evenly over 4 processes; choose a batch size of 8, or 2 processes"),
        (100, 2, 8, "2 samples cannot be split evenly over 8 processes; choose a batch size of 8, or 2 processes"),
        (5, 3, 8, "3 samples cannot be split evenly over 8 processes; choose 3 processes$"),
        (100, 7, 2, "7 samples cannot be split evenly over 2 processes; choose a batch size of 6 or 8, or 1 process$"),
    ],
)
def test_an_uneven_global_batch_names_what_would_work(num_samples, batch, size, advice):
    sampler = TrainSampler(num_samples, batch)
    with as_rank(0, size):
        with pytest.raises(UsageError, match=advice):
            iter(sampler)
        with pytest.raises(UsageError, match=advice):
            len(sampler)


def test_an_epoch_without_a_single_step_is_refused():
    with pytest.raises(UsageError, match=r"global batch of 8 out of 7 samples makes 0 steps .* at most 7"):
        TrainSampler(7, 8)


@pytest.mark.parametrize("kind", [TrainSampler, EvalSampler])
def test_nothing_to_sample_is_refused(kind):
    with pytest.raises(UsageError, match="expected at least 1 sample, found 0"):
        kind(0, 1)
    with pytest.raises(UsageError, match="batch size must be at least 1, was 0"):
        kind(1, 0)


@unhurried
@given(train_setups, st.data())
def test_a_resumed_epoch_is_the_rest_of_it_in_any_world(setup, data):
    size, batch, more = setup
    sampler = TrainSampler(batch + more, batch)
    whole = global_batches(sampler, 1)
    step = data.draw(st.integers(0, sampler.num_steps - 1))
    sampler.resume(0, step * batch)
    assert global_batches(sampler, size) == whole[step:]


def test_only_the_resumed_epoch_is_cut_and_its_length_stays_whole():
    sampler = TrainSampler(14, 4)
    sampler.resume(2, 8)
    assert list(sampler) == [(2, 8), (2, 9), (2, 10), (2, 11)]
    assert len(sampler) == 12
    sampler.set_epoch(2)  # what Lightning says when the iterator exists already
    assert list(sampler) == [(2, 8), (2, 9), (2, 10), (2, 11)]
    sampler.set_epoch(3)
    assert list(sampler) == [(3, position) for position in range(12)]


def test_a_whole_epoch_resumed_has_nothing_left_and_the_next_is_whole():
    sampler = TrainSampler(14, 4)
    sampler.resume(2, 12)
    assert (sampler.epoch, list(sampler), len(sampler)) == (2, [], 12)
    sampler.set_epoch(2)  # what Lightning says when the iterator exists already
    assert list(sampler) == []
    sampler.set_epoch(3)
    assert list(sampler) == [(3, position) for position in range(12)]


def test_the_start_of_the_next_epoch_is_another_point_than_the_end_of_this_one():
    sampler = TrainSampler(14, 4)
    sampler.resume(3, 0)
    assert list(sampler) == [(3, position) for position in range(12)]


def test_an_epoch_is_prepared_when_its_first_position_is_asked_for_and_no_sooner():
    prepared = []
    sampler = TrainSampler(14, 4, prepared.append)
    sampler.set_epoch(5)
    iterator = iter(sampler)
    assert (len(sampler), prepared) == (12, [])
    assert (next(iterator), prepared) == ((5, 0), [5])
    assert (len(list(iterator)), prepared) == (11, [5])


def test_an_epoch_without_anything_left_is_not_prepared():
    prepared = []
    sampler = TrainSampler(14, 4, prepared.append)
    sampler.resume(5, 12)
    assert (list(sampler), prepared) == ([], [])


def test_the_last_resume_holds():
    sampler = TrainSampler(14, 4)
    sampler.resume(2, 8)
    sampler.resume(0, 0)
    assert list(sampler) == [(0, position) for position in range(12)]


@pytest.mark.parametrize(("epoch", "consumed"), [(1, 6), (1, 16), (1, -4), (-1, 0)])
def test_a_resume_point_between_steps_is_refused(epoch, consumed):
    message = f"cannot resume epoch {epoch} after {consumed} samples: expected a multiple of the global batch of 4, at"
    with pytest.raises(UsageError, match=message):
        TrainSampler(14, 4).resume(epoch, consumed)


@unhurried
@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 120))
def test_evaluation_covers_every_sample_once_with_less_than_a_padding_per_rank(size, batch, num_samples):
    ranks = positions(EvalSampler(num_samples, batch), size)
    padded = -(-num_samples // size) * size
    assert union(ranks) == list(range(padded))
    assert {len(rank) for rank in ranks} == {padded // size}


def test_evaluation_has_equal_steps_for_all_small_worlds():
    for size in range(1, 9):
        for num_samples in range(1, 40):
            sampler = EvalSampler(num_samples, 3)
            for rank in range(size):
                with as_rank(rank, size):
                    assert len(list(sampler)) == len(sampler) == -(-num_samples // size)


def test_one_sample_is_evaluated_by_eight_ranks():
    assert positions(EvalSampler(1, 4), 8) == [[0], [1], [2], [3], [4], [5], [6], [7]]


def test_evaluation_steps_are_consecutive_over_the_ranks():
    # The example of the class.
    assert positions(EvalSampler(11, 2), 2) == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def test_evaluation_is_the_same_in_every_epoch():
    sampler = EvalSampler(3, 2)
    sampler.set_epoch(4)
    assert list(sampler) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create . worker processes:UserWarning")
@pytest.mark.parametrize("num_workers", [0, 1, 2, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 4))])
def test_a_loader_gives_the_same_batches_for_any_number_of_workers(num_workers):
    train, evaluate = TrainSampler(38, 12), EvalSampler(9, 2)
    train.resume(5, 12)
    for rank in range(2):
        with as_rank(rank, 2):
            first = 12 + 6 * rank
            expected = [[(5, first + step + micro + i) for i in range(2)] for step in (0, 12) for micro in (0, 2, 4)]
            assert loaded(train, batch_size=2, num_workers=num_workers) == expected  # 3 micro-batches a step
            assert loaded(evaluate, 2, num_workers) == [
                [(0, 2 * rank), (0, 2 * rank + 1)],
                [(0, 4 + 2 * rank), (0, 5 + 2 * rank)],
                [(0, 8 + rank)],
            ]


@pytest.mark.parametrize("persistent", [False, True])
def test_a_loader_whose_iterator_came_before_set_epoch_resumes_right(persistent):
    sampler = TrainSampler(16, 4)
    sampler.resume(1, 8)
    loader = DataLoader(Echo(), 4, sampler=sampler, num_workers=2, persistent_workers=persistent)
    assert len(loader) == 4
    iterator = iter(loader)
    sampler.set_epoch(1)
    assert [epoch.tolist() + position.tolist() for epoch, position in iterator] == [
        [1, 1, 1, 1, 8, 9, 10, 11],
        [1, 1, 1, 1, 12, 13, 14, 15],
    ]
    sampler.set_epoch(2)
    assert [position.tolist()[0] for _, position in loader] == [0, 4, 8, 12]
