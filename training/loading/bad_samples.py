"""Damaged samples that do not stop a run: how a batch stays whole without them, and how the trainer learns of them.

A loader worker marks the item that stands in for a damaged sample. The loader puts the marks of a batch beside its
tensors, and the trainer takes them out again before the model sees the batch:

    {"image": ..., "weight": ..., MARK: BadSample(...)}        an item of a damaged sample; others have no such entry
    {"image": (B, ...), ..., MARK: [BadSample(...), ...]}      its batch; a batch of whole samples has no such entry
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from sharding.errors import DataError
from training.loading.shared_batch import Unmade

MARK = "bad_samples"
"""Entry of an item, and of a batch."""


class BadSample(NamedTuple):
    """A damaged sample. A tuple of plain values, which torch and Lightning pass on as it is.

    Attributes:
        number: Of the sample, counted through all samples of all sets.
        key: Of the sample.
        reason: Names shard, key, and what is damaged.
    """

    number: int
    key: str
    reason: str


Seed = tuple[int, int, int, int]
"""(seed, epoch, sample id, replica), from which every random number of a draw follows."""


class Draw(Protocol):
    """A draw of a sample: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def seed(self) -> Seed:
        """Of the draw's random numbers."""
        ...

    @property
    def bad(self) -> BadSample | None:
        """The damaged sample in whose place it is."""
        ...


D = TypeVar("D", bound=Draw)


def fill_places(read: "Iterable[D | BadSample]", seeds: Sequence[Seed]) -> Iterator[D]:
    """Yield for each place of a batch a sample that is whole: its own, or that of the next place that has one.

    Places are counted round: after the last one comes the first. So the choice follows from the batch alone. What
    stands in for a damaged sample has the seed of that place.

    Args:
        read: What was read for each place; consumed one by one.
        seeds: Of each place.

    Raises:
        DataError: None is whole.
    """
    first, waiting = None, list[tuple[Seed, BadSample]]()
    for one, seed in zip(read, seeds, strict=True):
        if isinstance(one, BadSample):
            waiting.append((seed, one))
            continue
        first = first or one
        yield from _stand_in(one, waiting)
        yield one
        waiting.clear()
    if waiting and first is None:
        raise DataError(f"all {len(waiting)} samples of a batch are damaged, the first is {waiting[0][1].reason}")
    if first is not None:
        yield from _stand_in(first, waiting)


def _stand_in(donor: D, waiting: Sequence[tuple[Seed, BadSample]]) -> Iterator[D]:
    for seed, bad in waiting:
        yield replace(donor, seed=seed, bad=bad)


def collate_marked(collate_fn: Callable[[Any], Any], items: Sequence[Any] | Unmade) -> Any:
    """Collate items without their marks; if there are some, the batch has them as a list."""
    marks: list[BadSample] = []

    def without_marks() -> Iterator[Any]:
        for item in items:
            if isinstance(item, dict) and MARK in item:
                marks.append(item.pop(MARK))
            elif (bad := getattr(item, "bad", None)) is not None:
                marks.append(bad)
            yield item

    made = Unmade(len(items), without_marks()) if isinstance(items, Unmade) else list(without_marks())
    batch = collate_fn(made)
    if marks:
        batch[MARK] = [*batch.get(MARK, []), *marks]  # it may have found others itself
    return batch


def take_marks(batch: Any) -> list[BadSample]:
    """Take the marks out of a batch, and return them."""
    return batch.pop(MARK, []) if isinstance(batch, MutableMapping) else []
