import pytest
import torch

from training.loading.shared_blocks import as_worker
from training.profiling.stages import make_at_once, open_dataset
from training.profiling.transfer import copy_to, time_transfer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_batch_is_copied_as_it_is(diode_sets, plan):
    work = plan(diode_sets[1], 2)
    with as_worker():
        batch = make_at_once(open_dataset(work), range(2))
        there = copy_to(torch.device("cuda"), batch)
        timing = time_transfer(work, 3, torch.device("cuda"))
    assert torch.equal(there["depth"].cpu(), batch["depth"])
    assert there["image"].device.type == "cuda"
    assert (timing.samples, len(timing.seconds)) == (2, 3)
    assert timing.bytes == 2 * (8 * 48 * 64 + 16)
