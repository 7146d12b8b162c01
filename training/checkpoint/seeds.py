"""The global random generators, seeded by the state of the run: for dropout, drop-path, and whatever else draws."""

import random

import numpy as np
import torch

_STREAM = 3
"""Separates these numbers from those of order and augmentation, which follow from the same seed."""


def seed_generators(seed: int, epoch: int, position: int) -> None:
    """Seed `random`, `numpy.random` and torch (all devices) for one micro-batch.

    The history of the generators does not matter then, so a checkpoint need not hold their states, and ranks draw
    different numbers because their positions differ.

    Args:
        seed: Seed of the run.
        epoch: Epoch, from 0.
        position: Position of the micro-batch's first sample in the order of the epoch.
    """
    words = np.random.SeedSequence(seed, spawn_key=(epoch, position, _STREAM)).generate_state(3, np.uint64).tolist()
    random.seed(words[0])
    np.random.seed(words[1] >> 32)  # its seed has 32 bits
    _seed_torch(words[2] >> 1)  # 63 bits: in the range of a signed int64, too


def _seed_torch(word: int) -> None:
    """Seed torch as `torch.manual_seed` does, which takes milliseconds to store a seed for a GPU that is not in use."""
    torch.default_generator.manual_seed(word)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(word)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(word)
