import random

import numpy as np
import torch

from training.checkpoint.seeds import seed_generators


def draw(seed, epoch, position):
    """Numbers of each generator, wherever they stood before."""
    random.seed()
    np.random.seed()
    torch.seed()
    seed_generators(seed, epoch, position)
    return random.random(), np.random.random(), torch.rand(1).item(), torch.nn.functional.dropout(torch.ones(64)).sum()


def test_all_generators_follow_from_seed_epoch_and_position_alone():
    assert draw(3, 1, 8) == draw(3, 1, 8)


def test_all_generators_differ_with_each_of_them():
    """Also between ranks, and between the micro-batches of a step: they are at different positions."""
    places = [(seed, epoch, position) for seed in (0, 1, 2**40) for epoch in range(3) for position in range(0, 32, 4)]
    for generator in zip(*(draw(*place)[:3] for place in places), strict=True):
        assert len(set(generator)) == len(places)


def test_the_generators_are_not_the_same_stream():
    first, second, third = draw(0, 0, 0)[:3]
    assert len({first, second, third}) == 3


def test_large_numbers_are_taken():
    draw(2**63, 10**6, 10**10)
