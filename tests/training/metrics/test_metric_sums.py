import json
import math
import multiprocessing

import pytest
import torch
import torch.distributed as dist

from sharding.errors import DataError
from training.metrics.image_metrics import MetricSums
from training.metrics.protocols import METRICS


def test_sums_over_uneven_batches_are_the_mean_over_images():
    values, counted = torch.rand(7, 10, dtype=torch.float64), torch.ones(7).bool()
    sums = MetricSums()
    for cut in (slice(0, 1), slice(1, 5), slice(5, 7)):
        sums.add(values[cut], counted[cut], torch.ones(7)[cut])
    assert sums.count == 7
    assert list(sums.mean().values()) == pytest.approx(
        [math.fsum(column) / 7 for column in values.T.tolist()], rel=1e-14
    )


def test_padding_and_uncounted_images_stay_out_of_the_mean_and_only_the_latter_are_skipped():
    values = torch.tensor([0.0, 1.0, 2.0, math.nan, 4.0], dtype=torch.float64)[:, None].repeat(1, 10)
    counted, weight = torch.tensor([True, True, False, True, False]), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    sums = MetricSums()
    sums.add(values, counted, weight)
    assert (sums.count, sums.skipped) == (2, 1)
    assert set(sums.mean().values()) == {0.5}
    assert tuple(sums.mean()) == METRICS


def test_the_mean_of_no_image_fails():
    sums = MetricSums()
    sums.add(torch.zeros(2, 10, dtype=torch.float64), torch.tensor([False, True]), torch.tensor([1.0, 0.0]))
    with pytest.raises(DataError, match=r"no image.*1 images have fewer"):
        sums.mean()


def test_without_a_process_group_reducing_changes_nothing():
    sums = MetricSums()
    sums.add(torch.ones(3, 10, dtype=torch.float64), torch.ones(3).bool(), torch.ones(3))
    sums.all_reduce()
    assert sums.count == 3
    assert set(sums.mean().values()) == {1.0}


def reduce_on(rank, folder):
    """One of two ranks: reduce three images here and two (one of them padding) there, and write what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    sums, late = MetricSums(), MetricSums()
    for value, weight in ([(1.0, 1.0), (2.0, 1.0), (6.0, 1.0)], [(10.0, 1.0), (77.0, 0.0)])[rank]:
        sums.add(torch.full((1, 10), value, dtype=torch.float64), torch.tensor([True]), torch.tensor([weight]))
    if rank == 1:
        late.add(torch.ones(1, 10, dtype=torch.float64), torch.tensor([True]), torch.ones(1))
    for each in (sums, late):
        each.all_reduce()
    (folder / f"{rank}.json").write_text(json.dumps([sums.count, sums.mean()["mae"], late.count]))
    dist.destroy_process_group()


def test_ranks_with_unequal_shares_all_get_the_mean_over_all_images(tmp_path):
    fork = multiprocessing.get_context("fork")  # torch is loaded already: seconds saved
    ranks = [fork.Process(target=reduce_on, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=60)
    assert [process.exitcode for process in ranks] == [0, 0]
    # (1 + 2 + 6 + 10) / 4, while the mean of the ranks' means is 6.5
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [[4, 4.75, 1]] * 2
