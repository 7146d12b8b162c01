"""Batches that loader workers send in one piece, against torch's own collation."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset, default_collate

from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.loading.shared_batch import Placed, SharedBatch, collate, freed_on_error, make_batch, open_shared_batch
from training.loading.shared_blocks import MAPPED, Block, Mapped, Sender, Slots, as_worker

METHODS = ["fork", pytest.param("forkserver", marks=pytest.mark.slow)]


def item(number):
    draw = torch.Generator().manual_seed(number)
    return {
        "image": torch.randint(0, 256, (3, 5, 7), generator=draw, dtype=torch.uint8),
        "depth": torch.rand((1, 5, 7), generator=draw),
        "valid": torch.rand((1, 5, 7), generator=draw) > 0.5,
        "weight": torch.tensor(float(number)),
        "key": f"key{number}",
        "count": torch.tensor(2**40 + number),
        "number": number,
    }


class Items(Dataset):
    def __getitems__(self, positions):
        return [item(position) for _, position in positions]


def equal(ours, theirs):
    assert sorted(ours) == sorted(theirs)
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape)
            assert torch.equal(ours[name], value)
        else:
            assert ours[name] == value


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_arrive_as_torch_would_have_made_them(method, batch_size):
    loading = Loading(batch_size=batch_size, num_workers=2, start_method=method, timeout_s=60)
    batches = list(build_loader(Items(), TrainSampler(24, batch_size), loading))
    assert len(batches) == 24 // batch_size
    for number, batch in enumerate(batches):
        expected = [item(number * batch_size + place) for place in range(batch_size)]
        equal(batch, default_collate(expected))
        assert type(batch) is dict
        sent = [value for name, value in batch.items() if isinstance(value, torch.Tensor) and name != "number"]
        assert len({value.untyped_storage().data_ptr() for value in sent}) == 1  # handed over at once
        assert all(value.is_contiguous() for value in batch.values() if isinstance(value, torch.Tensor))


def test_without_workers_there_is_nothing_to_send():
    equal(collate([item(0), item(1)]), default_collate([item(0), item(1)]))


def test_a_shared_batch_is_opened_to_the_same_batch():
    block = Block(0, torch.arange(192, dtype=torch.uint8).share_memory_())
    placed = {"a": Placed(0, torch.float32, (2, 3)), "b": [Placed(64, torch.bool, (4,)), 7], "key": ["x"]}
    batch = SharedBatch(block, placed)
    opened = pickle.loads(pickle.dumps(batch))
    assert type(opened) is dict
    equal({"a": opened["a"], "b": opened["b"][0]}, {"a": batch["a"], "b": batch["b"][0]})
    assert torch.equal(opened["a"].view(torch.uint8).flatten(), torch.arange(64, 64 + 24, dtype=torch.uint8))
    assert (opened["b"][1], opened["key"]) == (7, ["x"])


class Views(Dataset):
    """Items as LightlyTrain's: lists of tensors of several sizes, channels last in memory."""

    def __getitems__(self, positions):
        return [self.item(position) for _, position in positions]

    def item(self, number):
        draw = torch.Generator().manual_seed(number)
        views = [torch.rand((size, size + 1, 3), generator=draw).permute(2, 0, 1) for size in (9, 9, 4, 4)]
        return {"filename": f"key{number}", "views": views, "geometries": [torch.full((8,), float(number))] * 4}


def test_views_arrive_as_torch_would_have_made_them():
    loading = Loading(batch_size=3, num_workers=2, timeout_s=60)
    for number, batch in enumerate(build_loader(Views(), TrainSampler(24, 3), loading)):
        expected = default_collate([Views().item(number * 3 + place) for place in range(3)])
        assert batch.keys() == expected.keys()
        assert batch["filename"] == expected["filename"]
        for name in ("views", "geometries"):
            assert len(batch[name]) == 4
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(batch[name], expected[name], strict=True))
            assert all(view.is_contiguous() for view in batch[name])


def block_of(batch):
    """The file of shared memory that a batch lies in."""
    first = batch["image"].untyped_storage().data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, inode = line.split()[:5]
        begin, end = (int(word, 16) for word in span.split("-"))
        if begin <= first < end:
            return int(inode)
    raise AssertionError("the batch is in no mapping")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize("method", METHODS)
def test_a_worker_fills_a_block_again_when_the_batch_is_gone(method):
    loading = Loading(batch_size=2, num_workers=1, start_method=method, timeout_s=60)
    loader = build_loader(Items(), TrainSampler(80, 2), loading)
    blocks = [block_of(batch) for batch in loader] + [block_of(batch) for batch in loader]
    assert len(blocks) == 80
    assert len(set(blocks)) <= 5  # two on their way, one in use, and those that were not yet free


class Held:
    """A tensor that is one of a batch, a part of one, or only shares its memory."""

    whole = staticmethod(lambda batch: batch["depth"])
    part = staticmethod(lambda batch: batch["depth"][1, 0, 2:])
    array = staticmethod(lambda batch: batch["depth"].numpy()[0])
    storage = staticmethod(lambda batch: batch["depth"].untyped_storage())


@pytest.mark.parametrize("what", ["whole", "part", "array", "storage"])
def test_a_block_is_left_alone_while_anything_of_it_is_held(what):
    hold = getattr(Held, what)
    loading = Loading(batch_size=2, num_workers=2, timeout_s=60)
    loader = build_loader(Items(), TrainSampler(80, 2), loading)
    held, copies = [], []
    for number, batch in enumerate(loader):
        if number % 3 == 0:  # more than a worker has blocks
            held.append(hold(batch))
            copies.append(pickle.dumps(held[-1].tolist() if what != "storage" else bytes(held[-1].tolist())))
        del batch
    assert len(held) == 14
    for one, copy in zip(held, copies, strict=True):
        assert pickle.dumps(one.tolist() if what != "storage" else bytes(one.tolist())) == copy


class Growing(Dataset):
    """Items whose size depends on the batch."""

    def __getitems__(self, positions):
        return [{"values": torch.full((1 + 7 * (position // 2 % 5),), position)} for _, position in positions]


def test_batches_of_changing_size_arrive_whole():
    loading = Loading(batch_size=2, num_workers=2, timeout_s=60)
    batches = [batch["values"] for batch in build_loader(Growing(), TrainSampler(80, 2), loading)]
    for number, values in enumerate(batches):
        size = 1 + 7 * (number % 5)
        assert torch.equal(values, torch.tensor([[2 * number] * size, [2 * number + 1] * size]))


def test_a_forked_process_frees_nothing_of_its_parent():
    block = torch.zeros(128, dtype=torch.uint8).share_memory_()
    block[0] = 1
    batch = open_shared_batch(block, Sender(0, 0, frozenset()), {"a": Placed(0, torch.uint8, (64,))})
    child = os.fork()
    if child == 0:
        batch.clear()
        os._exit(int(block[0]) - 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert block[0] == 1
    batch.clear()
    assert block[0] == 0


def test_a_block_of_a_batch_that_fails_is_free_again():
    block = Block(0, torch.zeros(128, dtype=torch.uint8).share_memory_()).take()
    batch = SharedBatch(block, {"a": Placed(0, torch.uint8, (64,))})
    with freed_on_error(batch):
        pass
    assert not block.is_free
    with pytest.raises(KeyError), freed_on_error(batch):
        raise KeyError
    assert block.is_free


def test_a_worker_keeps_few_blocks_and_none_that_is_too_small():
    slots = Slots()
    taken = [slots.take(100) for _ in range(20)]
    assert [block.number for block in taken] == list(range(20))  # all in use
    for block in taken:
        block.free()
    again = [slots.take(100) for _ in range(20)]
    assert len({block.number for block in again} & {block.number for block in taken}) == 8
    for block in again:
        block.free()
    larger = slots.take(1000)
    assert len(larger.payload) == 1000
    assert slots.sender(larger) == Sender(os.getpid(), larger.number, frozenset({larger.number}))
    larger.free()
    assert slots.take(10) is larger


def test_a_block_with_spare_bytes_serves_a_larger_batch():
    slots = Slots()
    block = slots.take(1000, spare=250)
    block.free()
    assert slots.take(1250) is block
    block.free()
    assert slots.take(1251) is not block


def test_a_trainer_keeps_the_blocks_that_will_come_again():
    mapped, blocks = Mapped(), [torch.zeros(1) for _ in range(4)]
    mapped.keep(Sender(7, 0, frozenset({0})), blocks[0])
    mapped.keep(Sender(7, 1, frozenset({0, 1})), blocks[1])
    mapped.keep(Sender(8, 0, frozenset({0})), blocks[2])
    assert len(mapped) == 3
    mapped.keep(Sender(7, 2, frozenset({1})), blocks[3])  # 0 was given up, and 2 will not come again
    assert len(mapped) == 2
    mapped.drop([7, 9])
    assert len(mapped) == 1


class Plain(Dataset):
    """Items of which nothing is sent beside the block."""

    def __getitems__(self, positions):
        return [{"image": torch.zeros(8)} for _ in positions]


def mappings():
    """The shared memory that this process has mapped, by file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {int(line.split()[4]) for line in lines if "/torch_" in line}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_block_is_mapped_once_and_until_its_worker_has_ended(method, persistent):
    loading = Loading(batch_size=2, num_workers=2, start_method=method, timeout_s=60, persistent_workers=persistent)
    loader = build_loader(Plain(), TrainSampler(80, 2), loading)
    before = mappings()  # what the workers write into is there
    for _ in range(3):
        places = {(block_of(batch), batch["image"].data_ptr()) for batch in loader}
        assert len(places) == len({block for block, _ in places}) <= 10
        batches = iter(loader)  # to be ended early, with batches on their way
        kept = next(batches)
        assert block_of(kept) in mappings() - before
        del batches
        assert bool(mappings() - before - {block_of(kept)}) == persistent
    del loader
    assert mappings() - before == {block_of(kept)}
    assert len(MAPPED) == 0
    del kept
    assert mappings() <= before


LAYOUT = {"image": (torch.uint8, (2, 3, 5, 7)), "weight": (torch.float32, (2,))}


def test_a_process_makes_batches_as_a_worker_where_it_asks_to():
    expected = default_collate([item(0), item(1)])
    with as_worker():
        collated, made = collate([item(0), item(1)]), make_batch(LAYOUT, {"key": ["a", "b"]})
        assert isinstance(collated, SharedBatch)
        assert isinstance(made, SharedBatch)
        equal(collated, expected)
        assert {name: (made[name].dtype, tuple(made[name].shape)) for name in LAYOUT} == LAYOUT
        assert made["image"].data_ptr() != collated["image"].data_ptr()
    for batch in (collate([item(0), item(1)]), make_batch(LAYOUT, {})):
        assert type(batch) is dict
        assert not batch["image"].is_shared()


def test_memory_is_used_again_only_when_its_batch_is_freed():
    with as_worker():
        first, second = make_batch(LAYOUT, {}), make_batch(LAYOUT, {})
        place, other = (batch["image"].data_ptr() for batch in (first, second))
        first.free()
        third = make_batch(LAYOUT, {})
        assert third["image"].data_ptr() == place != other
        with as_worker():
            assert make_batch(LAYOUT, {})["image"].data_ptr() not in (place, other)
        second.free()
        assert make_batch(LAYOUT, {})["image"].data_ptr() == other


def test_workers_that_are_forked_there_have_memory_of_their_own():
    loading = Loading(batch_size=2, num_workers=2, start_method="fork", timeout_s=60)
    with as_worker():
        ours = collate([item(100), item(101)])
        ours.free()  # what a worker finds free, it would fill
        for number, batch in enumerate(build_loader(Items(), TrainSampler(24, 2), loading)):
            equal(batch, default_collate([item(2 * number), item(2 * number + 1)]))
        equal(ours, default_collate([item(100), item(101)]))
