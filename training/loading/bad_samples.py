"""Damaged samples that do not stop a run: how a batch stays whole without them, and how the trainer learns of them.

A loader worker marks the item that stands in for a damaged sample. The loader puts the marks of a batch beside its
tensors, and the trainer takes them out again before the model sees the batch:

    {"image": ..., "weight": ..., MARK: BadSample(...)}        an item of a damaged sample; others have no such entry
    {"image": (B, ...), ..., MARK: [BadSample(...), ...]}      its batch; a batch of whole samples has no such entry
"""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sharding.errors import DataError

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


T = TypeVar("T")


def find_donors(read: "Sequence[T | BadSample]") -> list[T]:
    """Choose for each place of a batch a sample that is whole: its own, or that of the next place that has one.

    Places are counted round: after the last one comes the first. So the choice follows from the batch alone.

    Args:
        read: What was read for each place.

    Raises:
        DataError: There is none.
    """
    whole = {place: one for place, one in enumerate(read) if not isinstance(one, BadSample)}
    if not whole:
        reasons = [one.reason for one in read if isinstance(one, BadSample)]
        raise DataError(f"all {len(read)} samples of a batch are damaged, the first is {reasons[0]}")
    return [whole[min(whole, key=lambda donor: (donor - place) % len(read))] for place in range(len(read))]


def collate_marked(collate_fn: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """Collate items without their marks; if there are some, the batch has them as a list."""
    marks = [item.pop(MARK) for item in items if isinstance(item, dict) and MARK in item]
    batch = collate_fn(items)
    if marks:
        batch[MARK] = marks
    return batch


def take_marks(batch: Any) -> list[BadSample]:
    """Take the marks out of a batch, and return them."""
    return batch.pop(MARK, []) if isinstance(batch, MutableMapping) else []
