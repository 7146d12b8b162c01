"""The order held once: right in every process, whoever prepared it, and no copy of it in a worker."""

import pickle

import numpy as np
import pytest
from torch.utils.data import Dataset, get_worker_info

from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order, weighted_order
from training.loading.sampler import TrainSampler
from training.loading.shared_order import share_epoch_order, share_weighted_order

SIZES = (7, 0, 30, 3)
EPOCHS = (0, 1, 1, 0, 5)


def rows(order, epoch):
    return [order.at(epoch, place)[0] for place in range(sum(SIZES))]


def own_bytes(order):
    """Bytes of the private copy that this process has computed, 0 if it reads the shared order alone."""
    assert order._columns.is_shared()
    return 0 if order._own is None else sum(column.nbytes for column in order._own[1])


class Told(Dataset):
    """Tells of each position: row, replica if any, worker, and bytes that the worker holds for itself."""

    def __init__(self, order):
        self.order = order

    def __len__(self):
        return sum(SIZES)

    def __getitem__(self, position):
        info = get_worker_info()
        return (*self.order.at(*position), -1 if info is None else info.id, own_bytes(self.order))


def told(loader):
    return [item for batch in loader for item in batch]


def loader(dataset, sampler, start_method="fork", num_workers=2):
    loading = Loading(
        batch_size=2, num_workers=num_workers, start_method=start_method, timeout_s=60 * (num_workers > 0)
    )
    return build_loader(dataset, sampler, loading, collate_fn=list)


@pytest.mark.parametrize("prepared", [True, False])
def test_it_is_the_order_of_the_epoch_whether_prepared_or_not(prepared):
    order = share_epoch_order(SIZES, 4)
    for epoch in EPOCHS:
        if prepared:
            order.prepare(epoch)
        assert rows(order, epoch) == epoch_order(SIZES, 4, epoch).tolist()
        assert own_bytes(order) == (0 if prepared else 40 * 8)


def test_with_weights_it_is_row_and_replica():
    order = share_weighted_order((5, 9), (1.0, 3.0), 2)
    for epoch in EPOCHS:
        expected = [*zip(*(column.tolist() for column in weighted_order((5, 9), (1, 3), 2, epoch)), strict=True)]
        assert [order.at(epoch, place) for place in range(14)] == expected
        order.prepare(epoch)
        assert [order.at(epoch, place) for place in range(14)] == expected


def test_asked_for_another_epoch_than_the_prepared_one_it_is_right_and_spoils_nothing():
    order = share_epoch_order(SIZES, 0)
    order.prepare(3)
    for epoch in (2, 3, 4, 3):
        assert rows(order, epoch) == epoch_order(SIZES, 0, epoch).tolist()
    order.prepare(4)
    assert own_bytes(order) == 0


def test_an_epoch_filled_anew_while_it_is_read_is_noticed():
    order = share_epoch_order(SIZES, 0)
    order.prepare(1)
    columns, expected = order._columns, epoch_order(SIZES, 0, 1).tolist()

    class Slow:
        """Another epoch comes, and this one again, between the look at the stamp and the look at the order."""

        def __getitem__(self, index):
            order._columns = columns
            values = columns[index].clone()
            order.prepare(2)
            order.prepare(1)
            return values * 0 - 7  # as if torn

    order._columns = Slow()
    assert order.at(1, 5) == (expected[5],)


def test_a_place_or_epoch_that_does_not_exist_is_an_error():
    order = share_epoch_order(SIZES, 0)
    for prepared in (False, True):
        if prepared:
            order.prepare(0)
        with pytest.raises(IndexError):
            order.at(0, sum(SIZES))
    with pytest.raises(ValueError, match="epoch"):
        share_epoch_order(SIZES, 0).at(-1, 0)  # the mark of "no epoch yet"


@pytest.mark.parametrize("prepared", [True, False])
def test_it_survives_pickling_and_is_shared_again(prepared):
    order = share_epoch_order(SIZES, 1)
    if prepared:
        order.prepare(2)
    copy = pickle.loads(pickle.dumps(order))
    assert rows(copy, 2) == epoch_order(SIZES, 1, 2).tolist()
    assert copy._columns.is_shared()
    assert copy._stamp.is_shared()


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_workers_read_what_the_trainer_prepared_and_hold_nothing(start_method):
    order = share_epoch_order(SIZES, 6)
    sampler = TrainSampler(len(Told(order)), 4, order.prepare)
    batches = loader(Told(order), sampler, start_method)
    for epoch in EPOCHS:
        sampler.set_epoch(epoch)
        found = told(batches)
        assert [row for row, _, _ in found] == epoch_order(SIZES, 6, epoch).tolist()
        assert {worker for _, worker, _ in found} == {0, 1}
        assert {own for _, _, own in found} == {0}


def test_workers_are_right_also_if_nobody_prepares_but_then_each_holds_a_copy():
    order = share_epoch_order(SIZES, 6)
    sampler = TrainSampler(len(Told(order)), 4)
    batches = loader(Told(order), sampler)
    for epoch in EPOCHS:
        sampler.set_epoch(epoch)
        found = told(batches)
        assert [row for row, _, _ in found] == epoch_order(SIZES, 6, epoch).tolist()
        assert {own for _, _, own in found} == {40 * 8}


def test_an_epoch_left_in_the_middle_does_not_disturb_the_next():
    order = share_epoch_order(SIZES, 6)
    sampler = TrainSampler(len(Told(order)), 4, order.prepare)
    batches = loader(Told(order), sampler)
    for epoch in range(6):
        sampler.set_epoch(epoch)
        iterator = iter(batches)
        next(iterator)  # the workers have fetched ahead
    sampler.set_epoch(9)
    found = told(batches)
    assert [row for row, _, _ in found] == epoch_order(SIZES, 6, 9).tolist()
    assert {own for _, _, own in found} == {0}


def test_two_loaders_in_different_epochs_are_both_right():
    order = share_epoch_order(SIZES, 6)
    samplers = [TrainSampler(40, 4, order.prepare) for _ in range(2)]
    samplers[1].set_epoch(1)
    pairs = zip(*(loader(Told(order), sampler) for sampler in samplers), strict=True)
    found = [[item[0] for batch in batches for item in batch] for batches in zip(*pairs, strict=True)]
    assert found == [epoch_order(SIZES, 6, epoch).tolist() for epoch in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_pretraining_workers_hold_no_order_either(diode_sets, megadepth_set, weights, start_method):
    dataset = Owned([megadepth_set, diode_sets[0]], weights, seed=3)
    sampler = TrainSampler(len(dataset), 4, dataset.prepare)
    sampler.set_epoch(1)
    plain = [draw.key for draw in dataset.__getitems__(list(sampler))]
    found = told(loader(dataset, sampler, start_method))
    assert [key for key, _ in found] == plain
    assert {own for _, own in found} == {0}


class Owned(ImageDataset):
    """Tells of each draw its key, and the bytes of order that the process holds for itself."""

    def __getitems__(self, positions):
        draws = super().__getitems__(positions)
        return [draw if get_worker_info() is None else (draw.key, own_bytes(self._order)) for draw in draws]


def test_a_dataset_that_does_not_shuffle_has_no_order_to_hold(diode_sets):
    dataset = DiodeDepthDataset(diode_sets[0])
    dataset.prepare(3)
    assert dataset._order is None
    assert dataset[3, 5]["key"] == dataset[5]["key"]


def test_a_prepared_dataset_gives_the_items_of_an_unprepared_one(diode_sets):
    plain, prepared = (DiodeDepthDataset(diode_sets[0], seed=7, shuffle=True) for _ in range(2))
    for epoch in (0, 4):
        prepared.prepare(epoch)
        keys = [[dataset[epoch, place]["key"] for place in range(len(plain))] for dataset in (plain, prepared)]
        order = epoch_order(diode_sets[0].shard_sizes, 7, epoch)
        assert keys[0] == keys[1] == diode_sets[0].index["key"].iloc[np.asarray(order)].tolist()
