"""Reproducible transforms: every random number that a transform draws becomes a function of a seed.

The augmentations of LightlyTrain 0.18 on albumentations 2 seed themselves from the operating system once, when they
are built, and each worker process inherits a copy: all workers, in all epochs, then repeat one random stream (with
2 workers 4 of 16 batches were unique). Here all generators are seeded again for each sample.
"""

import random
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_Source = random.Random | np.random.Generator | np.random.RandomState | torch.Generator
_LEAVES = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, np.ndarray, torch.Tensor, str, bytes)


class Reseed:
    """The random generators of a transform: seeded again for each sample.

    All albumentations transforms get one pair of generators to share. (Their own `set_random_seed(seed)` would give
    each a copy of the same stream: a horizontal flip would then always come with a vertical one.) Generators that the
    transform keeps elsewhere, and the global ones of `random`, `numpy.random` and `torch`, are seeded too. Generators
    that the transform makes without a seed while it is applied cannot be reached (in LightlyTrain 0.18 only the method
    dinov31 makes some).

    Pickle it together with its transform, in one object: apart, each would get its own copies of the generators.

    Args:
        transform: Any object; its attributes, lists, tuples and dicts are searched.
    """

    def __init__(self, transform: object) -> None:
        self._shared = (np.random.default_rng(0), random.Random(0))
        self._seedable = [node for node in _nodes(transform) if callable(getattr(node, "set_random_state", None))]
        self._attach()  # replaces the transforms' own generators, which the search below must not find
        kept = [node for node in _nodes(transform) if isinstance(node, _Source)]
        self._sources: list[_Source] = [*self._shared, *(source for source in kept if source not in self._shared)]

    @contextmanager
    def __call__(self, seed: Sequence[int]) -> Iterator[None]:
        """Seed all generators for one application of the transform; the global ones are as before afterwards."""
        with preserved_globals():
            self.seed(seed)
            yield

    def seed(self, seed: Sequence[int]) -> None:
        """Seed all generators, the global ones too, from `seed`, a sequence of non-negative integers."""
        # A uint64 for the global generators, and one for each of the others, all independent of each other.
        words = np.random.SeedSequence(list(seed)).generate_state(len(self._sources) + 1, np.uint64).tolist()
        self._attach()
        for source, word in zip(self._sources, words[1:], strict=True):
            _seed(source, word)
        random.seed(words[0])
        np.random.seed(words[0] >> 32)
        torch.default_generator.manual_seed(words[0] >> 1)

    def _attach(self) -> None:
        """Give the shared pair to every transform, again if it was given another since."""
        for node in self._seedable:
            node.set_random_state(*self._shared)


def _nodes(root: object) -> Iterator[Any]:
    """Yield every object that is reached from `root` through attributes and containers, each once, in a fixed order."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        node = todo.pop()
        if id(node) in seen or isinstance(node, _LEAVES):
            continue
        seen.add(id(node))
        yield node
        todo.extend(reversed(_children(node)))  # reversed, as the end is popped: depth first, in order of attributes


def _children(node: Any) -> list[Any]:
    if isinstance(node, _Source):
        return []  # its attributes are its own state
    if isinstance(node, dict):
        return list(node.values())
    if isinstance(node, (list, tuple)):
        return list(node)
    return list(getattr(node, "__dict__", {}).values())


def _seed(source: _Source, word: int) -> None:
    """Seed one generator in place with a word of 64 bits."""
    if isinstance(source, np.random.Generator):
        kind: Any = type(source.bit_generator)  # such as PCG64; its state is copied, so that sharers see it, too
        source.bit_generator.state = kind(word).state
    elif isinstance(source, torch.Generator):
        source.manual_seed(word >> 1)  # 63 bits: in the range of a signed int64, too
    elif isinstance(source, np.random.RandomState):
        source.seed(word >> 32)  # takes 32 bits
    else:
        source.seed(word)


@contextmanager
def preserved_globals() -> Iterator[None]:
    """Restore the state of the global generators of `random`, `numpy.random` and `torch` afterwards.

    It takes longer than to seed them: once a batch, not once a sample.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
