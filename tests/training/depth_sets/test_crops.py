from collections.abc import Callable

import numpy as np
import pytest

from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.depth_sets.crops import announce_small_images


@pytest.fixture(scope="module")
def samples(make_set: Callable[..., ShardSet]) -> ShardSet:
    sizes = [(80, 120), (80, 120), (120, 90)]
    views = [("00001", np.full(size, 5.0), np.ones(size)) for size in sizes]
    return make_set(views)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"height": 80, "width": 90}, ""),
        (
            {"height": 80, "width": 91},
            "1 of 3 training images are smaller than the crop of 80 x 91 pixels (from",
        ),
        ({"height": 40, "width": 45, "scale": 0.5}, ""),
        (
            {"height": 48, "width": 64, "scale": 0.5},
            "3 of 3 training images are smaller than the crop of 48 x 64 pix",
        ),
        ({"height": 48, "width": 64, "scale": 0.5}, "(from 40 x 45 at --scale 0.5): beyond their borders"),
        ({"height": 200, "width": 200, "augment": "tutorial"}, ""),
    ],
)
def test_images_that_are_smaller_than_the_crop_are_counted(samples, capsys, options, said) -> None:
    announce_small_images(FinetuneConfig(set="", out="", **options), samples)
    found = capsys.readouterr().err
    assert said in found
    assert bool(found) == bool(said)
