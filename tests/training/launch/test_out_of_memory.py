import pytest
import torch

from sharding.errors import DataError
from training.launch.out_of_memory import describe_lack, explaining_lack
from training.launch.processes import explain
from training.launch.world import World

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is "
    "free. Including non-PyTorch memory, this process has 77.80 GiB memory in use. Of the allocated memory 70.00 GiB "
    "is allocated by PyTorch, and 1.00 GiB is reserved by PyTorch but unallocated. If reserved but unallocated memory "
    "is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
FACTS = (
    "out of memory: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which "
    "1.20 GiB is free"
)


def run_out():
    """What torch raises when this machine has too little memory for a tensor: 4 PB."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    return caught.value


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError(CUDA), FACTS + "."),
        (torch.OutOfMemoryError("Allocation on device"), "out of memory: Allocation on device"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might"),
            "out of memory: CUDA error: out of memory",
        ),
        (
            RuntimeError("cuBLAS: CUBLAS_STATUS_ALLOC_FAILED when"),
            "out of memory: cuBLAS: CUBLAS_STATUS_ALLOC_FAILED when",
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("CUDA out of memory"), None),
    ],
)
def test_an_error_about_memory_is_told_by_its_facts(error, said):
    assert describe_lack(error) == said


def test_a_real_one_is_found_behind_the_error_that_it_led_to():
    try:
        try:
            torch.empty(10**15)
        finally:
            raise LookupError("in teardown")
    except LookupError as error:
        text = describe_lack(error)
    assert text.startswith("out of memory: DefaultCPUAllocator: ")
    assert text.endswith("4000000000000000 bytes")
    assert "\n" not in text


def test_a_rank_names_itself_and_the_remedy_whatever_the_others_did():
    said = explain(
        torch.OutOfMemoryError(CUDA), World(0, 2), ["rank 1 ended with status 1"], "give a smaller --batch-size"
    )
    assert type(said) is DataError
    assert str(said) == f"rank 0 of 2: {FACTS}; give a smaller --batch-size"
    alone = explain(run_out(), World(0, 1))
    assert str(alone).endswith("bytes; give this run less to compute at once, or a device with more memory")


def test_a_loader_worker_without_memory_is_told_as_such():
    class Greedy(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, item):
            return torch.empty(10**15)

    with pytest.raises(RuntimeError) as caught:
        list(torch.utils.data.DataLoader(Greedy(), num_workers=1))
    said = str(explain(caught.value, World(1, 2), remedy="give a smaller --micro-batch"))
    assert said.startswith("rank 1 of 2: loader worker 0: out of memory: DefaultCPUAllocator: ")
    assert said.endswith("bytes; run again with fewer --num-workers, or with more memory")
    assert "\n" not in said


def test_what_has_nothing_to_do_with_memory_stays_as_it_is():
    with pytest.raises(DataError, match=r"^photo\.jpg: out of memory: .* bytes; give a smaller one$") as caught:
        with explaining_lack("photo.jpg", "give a smaller one"):
            torch.empty(10**15)
    assert isinstance(caught.value.__cause__, RuntimeError)
    bug = RuntimeError("a bug")
    with pytest.raises(RuntimeError) as other, explaining_lack("photo.jpg", "give a smaller one"):
        raise bug
    assert other.value is bug
