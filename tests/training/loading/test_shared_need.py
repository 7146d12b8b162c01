"""What loaders need of shared memory, and what is refused because of it."""

import sys
import time

import pytest
from torch.utils.data import Dataset

from sharding.errors import UsageError
from training.evaluation.native_size import native_need
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.loading.shared_columns import SharedColumn
from training.loading.shared_need import SharedNeed, check_shared_memory, index_bytes

DEFAULT = SharedNeed(purpose="training", batch_bytes=32 * 768 * 768 * 8, batches=1000, workers=4, pinned=True)


@pytest.mark.parametrize(
    ("workers", "prefetch", "pinned", "batches", "slots"),
    [
        *[(0, 2, False, 9, 0), (4, 2, True, 99, 8), (4, 2, False, 99, 12), (2, 3, False, 99, 8)],
        *[(1, 2, False, 99, 4), (1, 2, True, 99, 2), (4, 2, False, 5, 5)],
    ],
)
def test_batches_that_are_made_and_those_that_the_trainer_has(workers, prefetch, pinned, batches, slots):
    need = SharedNeed(
        purpose="", batch_bytes=10, batches=batches, workers=workers, prefetch=prefetch, pinned=pinned, index_bytes=7
    )
    assert need.slots == slots
    assert need.total == slots * 8192 + workers * 65536 + 7


def test_the_defaults_do_not_fit_into_what_docker_gives(shared_memory):
    shared_memory(64 * 2**20)
    with pytest.raises(UsageError) as caught:
        check_shared_memory([DEFAULT], smaller="--micro-batch")
    assert str(caught.value) == (
        "the loader's workers need 1,208 MB of shared memory (8 batches of 151.0 MB for training), /dev/shm has 67 MB "
        "free: give it more (docker run --shm-size=2g), or give --num-workers 0 or a smaller --micro-batch"
    )


def test_what_just_fits_is_accepted_and_what_does_not_is_told_what_would(shared_memory):
    two = [DEFAULT, SharedNeed(purpose="images", batch_bytes=6_000_000, batches=9, workers=4)]
    needed = 3 * sum(one.total for one in two)
    shared_memory(needed)
    check_shared_memory(two, ranks=3)
    shared_memory(needed - 1)
    with pytest.raises(
        UsageError, match=r"and 9 batches of 6\.0 MB for images in each of 3 processes.* --num-workers 3$"
    ):
        check_shared_memory(two, ranks=3)


def test_nothing_is_refused_without_workers_or_where_nothing_tells_what_is_free(shared_memory, monkeypatch):
    shared_memory(10)
    check_shared_memory([SharedNeed(purpose="", batch_bytes=10**9, batches=9, workers=0, index_bytes=10**9)])
    monkeypatch.setattr("sharding.machine.shared_memory.FOLDER", "/nowhere")
    check_shared_memory([DEFAULT])


def test_the_largest_image_decides_and_the_index_is_counted(megadepth_set):
    need = native_need(megadepth_set, 2, pinned=False)
    dataset = DiodeDepthDataset(megadepth_set)
    pixels = [dataset[row]["valid"].numel() for row in range(len(dataset))]
    assert len(set(pixels)) > 1
    assert (need.batch_bytes, need.batches) == (8 * max(pixels), len(dataset))
    assert native_need(megadepth_set, 2, pinned=False, ranks=5).batches == -(-len(dataset) // 5)
    columns = dataset._reader.columns.values()
    assert all(isinstance(one, SharedColumn) for one in columns)
    shared = sum(one._tensor.nbytes for one in columns) + dataset._ids._tensor.nbytes
    assert shared < need.index_bytes <= shared + 8 * len(dataset) + 4096 * (len(columns) + 4)
    assert need.index_bytes == index_bytes(megadepth_set)


class Small(Dataset):
    def __getitems__(self, positions):
        import torch

        return [{"image": torch.zeros(8)} for _ in positions]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_slow_trainer_never_sees_more_blocks_than_are_reckoned(workers):
    from tests.training.loading.test_shared_batch import block_of

    loading = Loading(batch_size=2, num_workers=workers, timeout_s=60)
    seen = set()
    for batch in build_loader(Small(), TrainSampler(48, 2), loading):
        time.sleep(0.02)
        seen.add(block_of(batch))
    need = SharedNeed(purpose="", batch_bytes=0, batches=24, workers=workers)
    assert workers < len(seen) <= need.slots
