import pytest
import torch

from sharding.errors import DataError
from training.launch.shared_tensors import to_shared

FULL = "unable to allocate shared memory(shm) for file </torch_1_2_3>: Success (0)"


def fail(text):
    def share(tensor):
        raise RuntimeError(text)

    return share


def test_a_tensor_that_fits_is_shared_in_place():
    tensor = torch.arange(3)
    assert to_shared(tensor) is tensor
    assert tensor.is_shared()


def test_one_that_does_not_is_told_with_what_is_there_and_what_helps(monkeypatch, shared_memory):
    shared_memory(64_000_000)
    monkeypatch.setattr(torch.Tensor, "share_memory_", fail(FULL))
    with pytest.raises(DataError) as caught:
        to_shared(torch.empty(75_500_000, dtype=torch.uint8))
    assert str(caught.value) == (
        "no room for 75.5 MB in the shared memory, /dev/shm, of whose 64 MB 64 MB are free: give the container more "
        "(docker run --shm-size=...), or run again with fewer --num-workers or a smaller (micro-)batch"
    )


def test_another_error_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "share_memory_", fail("Too many open files (24)"))
    with pytest.raises(RuntimeError, match="Too many open files"):
        to_shared(torch.empty(1))
