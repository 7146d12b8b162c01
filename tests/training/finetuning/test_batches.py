import pytest

from sharding.errors import UsageError
from training.finetuning.batches import BatchSplit, next_smaller, split_batch


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


@pytest.mark.parametrize(("share", "micro", "expected"), [(8, 8, 4), (15, 15, 5), (30, 15, 6), (7, 7, 1), (6, 2, 1)])
def test_the_next_smaller_micro_batch_divides_the_share(share, micro, expected):
    assert next_smaller(share, micro) == expected
