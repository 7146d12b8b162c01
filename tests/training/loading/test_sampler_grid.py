"""Global batches through real loaders: the same for any number of ranks and workers, also when a run goes on."""

import hashlib
from itertools import chain

import pytest
from torch.utils.data import DataLoader, Dataset

from training.launch.world import World
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order
from training.loading.sampler import TrainSampler

GLOBAL_BATCH, SIZES, SEED, EPOCH = 840, [700, 1, 1200], 4, 3  # 840 divides by every world of 1 to 8
SMALL_BATCH = 8

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create . worker processes:UserWarning")


class Rows(Dataset[int]):
    """Maps (epoch, position) to the row, as the data sets do, in whatever worker it is asked."""

    def __getitems__(self, positions):
        order = epoch_order(SIZES, SEED, positions[0][0])
        return [int(order[place]) for _, place in positions]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", range(5))
@pytest.mark.parametrize("size", range(1, 9))
def test_the_global_batches_are_the_order_of_the_epoch(size, num_workers, monkeypatch):
    ranks = []
    for rank in range(size):
        monkeypatch.setattr(World, "current", classmethod(lambda cls, rank=rank: cls(rank, size)))
        sampler = TrainSampler(sum(SIZES), GLOBAL_BATCH)
        sampler.set_epoch(EPOCH)
        loader = DataLoader(Rows(), GLOBAL_BATCH // size, sampler=sampler, num_workers=num_workers)
        ranks.append([batch.tolist() for batch in loader])
    steps = [[row for batch in batches for row in batch] for batches in zip(*ranks, strict=True)]
    order = epoch_order(SIZES, SEED, EPOCH).tolist()
    assert steps == [order[:GLOBAL_BATCH], order[GLOBAL_BATCH : 2 * GLOBAL_BATCH]]


def digests(batch):
    """(key, digest of image, depth and valid) of each sample of a batch."""
    parts = [batch[part].numpy() for part in ("image", "depth", "valid")]
    return [
        (key, hashlib.sha256(b"".join(part[place].tobytes() for part in parts)).hexdigest())
        for place, key in enumerate(batch["key"])
    ]


@pytest.fixture
def views(diode_sets, monkeypatch):
    """A function: (ranks, workers, micro-batches a step, samples consumed) to the digests of each global batch."""

    def load(size, num_workers, accumulate=1, consumed=0):
        ranks = []
        for rank in range(size):
            monkeypatch.setattr(World, "current", classmethod(lambda cls, rank=rank: cls(rank, size)))
            dataset = DiodeDepthDataset(
                diode_sets[0], augment=PairedAugment(height=32, width=48), seed=SEED, shuffle=True
            )
            sampler = TrainSampler(len(dataset), SMALL_BATCH, dataset.prepare)
            sampler.resume(EPOCH, consumed)
            loading = Loading(batch_size=SMALL_BATCH // size // accumulate, num_workers=num_workers)
            micros = [digests(batch) for batch in build_loader(dataset, sampler, loading)]
            ranks.append([[*chain(*micros[i : i + accumulate])] for i in range(0, len(micros), accumulate)])
        return [[*chain(*parts)] for parts in zip(*ranks, strict=True)]

    return load


@pytest.mark.slow
def test_the_pixels_of_each_global_batch_are_the_same_for_any_ranks_workers_and_micro_batches(views, diode_sets):
    plain = views(1, 0)
    order = epoch_order(diode_sets[0].shard_sizes, SEED, EPOCH)
    assert [key for batch in plain for key, _ in batch] == diode_sets[0].index["key"].iloc[order].tolist()
    assert len({digest for batch in plain for _, digest in batch}) == 40
    for size, num_workers in ((1, 1), (1, 3), (2, 0), (2, 1), (2, 3), (4, 0), (4, 1), (4, 3)):
        assert views(size, num_workers) == plain
    assert views(1, 3, accumulate=4) == views(2, 1, accumulate=2) == plain


def test_a_run_stopped_at_two_ranks_goes_on_at_one_with_the_samples_that_were_left(views):
    whole, stopped = views(1, 0), views(2, 1)[:2]
    assert stopped + views(1, 3, consumed=2 * SMALL_BATCH) == whole
    assert views(1, 1, consumed=5 * SMALL_BATCH) == []  # the end of an epoch: nothing is left of it
