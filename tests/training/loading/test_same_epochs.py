"""Order, keys, depth and valid pixels of two epochs and an evaluation, held to what they were when first recorded.

A run that is resumed with a later version must see the samples it would have seen. The set is made by hand from whole
numbers, and nothing is augmented, so that no processor rounds otherwise; pixels are left out, for decoders differ.
"""

import hashlib

import numpy as np
import pytest

from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order
from training.loading.sampler import EvalSampler, TrainSampler

TRAINED = "16012ef92b260a7399859c71835e4a21077392e116cd8e8b0028544357039c28"
EVALUATED = "316969b25da93b97e170cb9d2c61b0ef2a04cc00dcbbd9f2180e78a4f2bc23d4"


@pytest.fixture(scope="module")
def views(make_set):
    """20 views of 12 x 16 pixels in five scenes: depth 1, 2, 3, ..., and in each another corner without depth."""
    depth = np.arange(1, 12 * 16 + 1, dtype=np.float32).reshape(12, 16)
    masks = [np.ones((12, 16)) for _ in range(20)]
    for number, mask in enumerate(masks):
        mask[: 1 + number % 5, : 1 + number // 5] = 0
    return make_set([(f"{number % 5:05d}", depth + number, mask) for number, mask in enumerate(masks)])


def digest(batches):
    """Of the keys, depth, valid pixels and weights of batches, in order."""
    found = hashlib.sha256()
    for batch in batches:
        found.update(" ".join(batch["key"]).encode())
        for part in ("depth", "valid", "weight"):
            found.update(batch[part].numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("workers", [0, 2])
def test_two_epochs_of_training_and_an_evaluation_are_what_they_were(views, workers):
    loading = Loading(batch_size=3, num_workers=workers)
    trained = DiodeDepthDataset(views, seed=3, shuffle=True)
    sampler = TrainSampler(len(trained), 6, trained.prepare)
    loader = build_loader(trained, sampler, loading)
    batches = []
    for epoch in (0, 1):
        sampler.resume(epoch, 0)
        batches += list(loader)
    evaluated = DiodeDepthDataset(views)
    assert len(batches) == 12
    assert digest(batches) == TRAINED
    assert digest(build_loader(evaluated, EvalSampler(len(evaluated), 3), loading)) == EVALUATED


def test_the_order_of_an_epoch_is_what_it_was():
    assert epoch_order([4, 3, 5], seed=3, epoch=0).tolist() == [0, 4, 10, 5, 9, 1, 11, 7, 8, 2, 3, 6]
    assert epoch_order([4, 3, 5], seed=3, epoch=1).tolist() == [9, 3, 6, 5, 10, 7, 8, 0, 2, 1, 11, 4]
    assert epoch_order([4, 3, 5], seed=4, epoch=0).tolist() == [8, 9, 0, 1, 5, 4, 10, 6, 7, 3, 11, 2]
