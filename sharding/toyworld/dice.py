"""Seeded draws: every number of the toy world comes from here, a pure function of the seeds.

Only the generator's plain doubles are used, whose stream does not change between releases of numpy.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

# 1 / g, 1 / g^2 and 1 / g^3, where g^4 = g + 1.
_SPREAD = (0.8191725133961645, 0.6710436067037893, 0.5497004779019703)


class Dice:
    """A stream of draws that depends on the four seeds alone."""

    def __init__(self, seed: int, purpose: int, group: int = 0, number: int = 0) -> None:
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, purpose, group, number))))

    def between(self, low: float, high: float) -> float:
        """Draw uniformly from [low, high)."""
        return low + (high - low) * float(self._random.random())

    def log_between(self, low: float, high: float) -> float:
        """Draw from [low, high) with a uniform logarithm."""
        return low * float((high / low) ** self._random.random())

    def whole(self, count: int) -> int:
        """Draw from 0 .. count - 1."""
        return int(self._random.random() * count)

    def chance(self, probability: float) -> bool:
        """Return True with `probability`."""
        return float(self._random.random()) < probability

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of `options`."""
        return options[self.whole(len(options))]

    def digits(self, alphabet: str, count: int) -> str:
        """Draw `count` characters of `alphabet`."""
        return "".join(alphabet[self.whole(len(alphabet))] for _ in range(count))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return `items` in a drawn order."""
        return [items[i] for i in np.argsort(self._random.random(len(items)), kind="stable")]

    def field(self, *shape: int) -> NDArray[np.float32]:
        """Draw float32 (shape), uniform in [0, 1)."""
        return self._random.random(shape).astype(np.float32)


def spread(number: int, axis: int, start: float) -> float:
    """Return item `number` of an evenly spread sequence in [0, 1): a few items cover it far better than draws do.

    The additive recurrence of the plastic number in three dimensions (Roberts 2018, "R3").

    Args:
        number: 0, 1, 2, ...
        axis: 0, 1 or 2: sequences that are independent of each other.
        start: Where the sequence starts, in [0, 1).
    """
    return (start + number * _SPREAD[axis]) % 1.0
