import pytest
import torch

from sharding.errors import UsageError
from training.finetuning.batches import BatchSplit, StepMemory, split_batch
from training.launch.devices import Placement
from training.launch.memory import least_free_memory


@pytest.mark.parametrize(
    ("batch", "world", "micro", "fitting", "expected"),
    [
        (32, 1, "auto", 1000, (32, 1)),
        (32, 4, "auto", 1000, (8, 1)),
        (32, 1, "auto", 10, (8, 4)),
        (30, 1, "auto", 8, (6, 5)),
        (7, 1, "auto", 3, (1, 7)),
        (32, 2, "auto", 0, (1, 16)),
        (32, 2, "4", 1, (4, 4)),
        (32, 2, "16", 1000, (16, 1)),
    ],
)
def test_ranks_times_micro_batches_make_the_global_batch(batch, world, micro, fitting, expected):
    split = split_batch(batch, world, micro, fitting)
    assert split == BatchSplit(world=world, micro_batch=expected[0], accumulation=expected[1])
    assert split.world * split.micro_batch * split.accumulation == batch


@pytest.mark.parametrize(
    ("batch", "world", "micro", "expected"),
    [
        (32, 3, "auto", "--batch-size 32 is that of all 3 processes: give a multiple of 3"),
        (0, 1, "auto", "--batch-size 0"),
        (32, 2, "5", "--micro-batch 5 does not divide the 16 samples of each of 2 processes"),
        (32, 2, "0", "--micro-batch 0: expected a number of samples, or auto"),
        (32, 2, "big", "--micro-batch big"),
    ],
)
def test_a_batch_that_cannot_be_cut_evenly_is_refused(batch, world, micro, expected):
    with pytest.raises(UsageError, match=expected):
        split_batch(batch, world, micro, 1000)


@pytest.mark.parametrize(("gigabytes", "expected"), [(24, 2), (80, 8), (4, 0)])
def test_automatic_micro_batches_of_the_tutorial_fit_the_device(gigabytes, expected):
    parameters = 339_069_708  # of the ResNet-50 network
    need = StepMemory.estimate("resnet50", 768 * 768, parameters, 1)
    assert need.fitting(gigabytes * 10**9) == expected
    assert (need.fitting(need.least + 1), need.fitting(need.least - 100)) == (1, 0)


def test_several_ranks_and_the_update_take_memory_too():
    alone, several = (StepMemory.estimate("resnet18", 64 * 96, 31_112_908, world) for world in (1, 2))
    assert several.state - alone.state == 4 * 31_112_908
    # Activations of a small image are less than what the update takes.
    assert alone.sample < alone.update
    assert alone.fitting(alone.least + 1) == alone.update // alone.sample


def test_a_cpu_sets_no_limit():
    assert least_free_memory(Placement((torch.device("cpu"),))) is None
    assert StepMemory.estimate("resnet18", 768 * 768, 31_112_908, 1).fitting(None) >= 10**6
