"""Batches that loader workers send in one piece, against torch's own collation."""

import pickle

import pytest
import torch
from torch.utils.data import Dataset, default_collate

from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.loading.shared_batch import SharedBatch, collate, open_shared_batch


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


@pytest.mark.parametrize("method", ["fork", "forkserver"])
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
    storage = torch.arange(64, dtype=torch.uint8)
    batch = SharedBatch(storage, [("a", 0, torch.float32, (2, 3)), ("b", 32, torch.bool, (4,))], {"key": ["x"]})
    opened = pickle.loads(pickle.dumps(batch))
    assert type(opened) is dict
    equal(opened, batch)
    equal(opened, open_shared_batch(*batch._sent))
    assert opened["a"].shape == (2, 3)
