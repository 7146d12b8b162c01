"""Arms of one seed differ in the weights of their encoders, and in nothing else that a run begins with."""

import pytest
import torch

from training.config import FinetuneConfig
from training.depth_sets.subsets import choose_subsets
from training.finetuning.batches import BatchSplit
from training.finetuning.depth_data import make_data
from training.finetuning.finetune import init_model
from training.network.encoder import build_resnet
from training.network.unet import split_parameters

WHOLE = BatchSplit(world=1, micro_batch=8, accumulation=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A file of pretrained weights: those of another draw."""
    file = tmp_path_factory.mktemp("encoder") / "encoder.pt"
    torch.save(build_resnet("resnet18", seed=99).state_dict(), file)
    return str(file)


def batches(sets, epoch, **options):
    """The batches of an epoch, as the trainer gets them."""
    size = {"height": 40, "width": 48, "batch_size": 8, "num_workers": 0, "encoder_name": "resnet18"}
    config = FinetuneConfig(set=sets[0].url, val=sets[1].url, out="run", **size, **options)
    data = make_data(config, choose_subsets(config), WHOLE, pin_memory=False)
    data.sampler.set_epoch(epoch)
    return list(data.train_loader)


def same(first, second):
    assert len(first) == len(second) == 5
    return all(
        one["key"] == other["key"] and all(torch.equal(one[part], other[part]) for part in ("image", "depth", "valid"))
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("epoch", [0, 3])
def test_arms_of_one_seed_see_the_same_batches(diode_sets, encoder, epoch):
    scratch = batches(diode_sets, epoch, encoder="none", seed=5)
    assert same(batches(diode_sets, epoch, encoder=encoder, seed=5, learning_rate=1e-3), scratch)
    assert not same(batches(diode_sets, epoch, encoder="none", seed=6), scratch)
    assert not same(batches(diode_sets, epoch + 1, encoder="none", seed=5), scratch)


def test_arms_of_one_seed_begin_with_the_same_decoder(encoder):
    scratch, pretrained, other = (
        split_parameters(init_model(source, "resnet18", seed))
        for source, seed in (("none", 5), (encoder, 5), ("none", 6))
    )
    assert all(torch.equal(*pair) for pair in zip(scratch[1], pretrained[1], strict=True))
    assert not torch.equal(scratch[0][0], pretrained[0][0])
    assert not all(torch.equal(*pair) for pair in zip(scratch[1], other[1], strict=True))
