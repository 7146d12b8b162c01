"""BatchNorm statistics over all GPUs: by default where there are any, and in a form that the network takes."""

import pytest
import torch

from sharding.errors import UsageError
from training.config import FinetuneConfig
from training.finetuning.finetune import init_model
from training.finetuning.step import shares_statistics

CONFIG = {"set": "a", "val": "b", "out": "c"}


def test_they_are_shared_by_default_where_torch_can_share_them():
    assert shares_statistics(FinetuneConfig(**CONFIG), "cuda")
    assert not shares_statistics(FinetuneConfig(**CONFIG), "cpu")
    assert not shares_statistics(FinetuneConfig(**CONFIG, sync_batchnorm=False), "cuda")
    with pytest.raises(UsageError, match="--sync-batchnorm: torch shares BatchNorm statistics over GPUs alone"):
        shares_statistics(FinetuneConfig(**CONFIG, sync_batchnorm=True), "cpu")


@pytest.mark.parametrize("recompute", [False, True])
def test_the_network_with_shared_statistics_is_the_same_network(recompute):
    """What Lightning makes of it for several GPUs has the same names, and predicts the same."""
    unet, image = init_model("none", "resnet18"), torch.randn(2, 3, 40, 48)
    names = list(unet.state_dict())
    norms = [one for one in unet.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        expected = unet.eval()(image)
    shared = torch.nn.SyncBatchNorm.convert_sync_batchnorm(unet)
    shared.recompute = recompute
    assert sum(isinstance(one, torch.nn.SyncBatchNorm) for one in shared.modules()) == len(norms) == 25
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in shared.modules())
    assert list(shared.state_dict()) == names
    with torch.no_grad():
        assert torch.equal(shared(image), expected)
