"""The global random generators, as a function of where the run stands: dropout, drop-path, and whatever else draws."""

import random

import numpy as np
import torch

_STREAM = 3
"""Keeps these numbers apart from those of order and augmentation, which follow from the same seed."""


def seed_generators(seed: int, epoch: int, position: int) -> None:
    """Seed `random`, `numpy.random` and torch (all devices) for one micro-batch.

    Nothing of the generators' past matters then, so a checkpoint need not hold them, and ranks differ from each other
    because their positions do.

    Args:
        seed: The run's.
        epoch: From 0.
        position: Of the micro-batch's first sample in the order of the epoch.
    """
    words = np.random.SeedSequence(seed, spawn_key=(epoch, position, _STREAM)).generate_state(3, np.uint64).tolist()
    random.seed(words[0])
    np.random.seed(words[1] >> 32)  # takes 32 bits
    _seed_torch(words[2] >> 1)  # takes 63 bits


def _seed_torch(word: int) -> None:
    """Like `torch.manual_seed`, which without a GPU takes milliseconds to remember the seed for one."""
    torch.default_generator.manual_seed(word)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(word)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(word)
