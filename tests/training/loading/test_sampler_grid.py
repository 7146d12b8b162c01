"""The order of an epoch, exact for 1 to 8 ranks x 0 to 4 workers, through real loaders."""

import pytest
from torch.utils.data import DataLoader, Dataset

from training.loading.order import epoch_order
from training.loading.sampler import TrainSampler
from training.world import World

GLOBAL_BATCH, SIZES, SEED, EPOCH = 840, [700, 1, 1200], 4, 3  # 840 divides by every world of 1 to 8


class Rows(Dataset[int]):
    """Maps (epoch, position) to the row, as the data sets do, in whatever worker it is asked."""

    def __getitems__(self, positions):
        order = epoch_order(SIZES, SEED, positions[0][0])
        return [int(order[place]) for _, place in positions]


@pytest.mark.filterwarnings("ignore:This DataLoader will create . worker processes:UserWarning")
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
