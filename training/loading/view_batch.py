"""A batch of training views: each is written to its place in the batch, one after the other.

So of a set that is read by index a worker holds one decoded sample, however large the batch is, and no view is copied
on its way to the trainer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.loading.augment import Colour
from training.loading.bad_samples import MARK, BadSample
from training.loading.shared_batch import freed_on_error, make_batch
from training.loading.view import ViewArrays


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What is known of a view beside its pixels.

    Attributes:
        key: Of the sample.
        weight: 1, or 0 for padding and for a damaged sample.
        colour: How the trainer is to change the colour.
        bad: The damaged sample, of which there is no view; all pixels are 0 and invalid.
    """

    key: str
    weight: float
    colour: Colour = (1.0, 1.0, 1.0)
    bad: BadSample | None = None


Writer = Callable[[ViewArrays], Written]
"""Writes a view."""


class ViewBatch:
    """The views of a batch, to be made by `fill`.

    Args:
        count: How many there are.
        size: Height and width of each.
        writers: Of each view; consumed once.
    """

    def __init__(self, count: int, size: tuple[int, int], writers: Iterable[Writer]) -> None:
        self._count, self._size, self._writers = count, size, writers

    def fill(self) -> dict[str, Any]:
        """Make the batch of `DiodeDepthDataset`'s items, with the marks of damaged samples if there are some.

        Raises:
            DataError: A sample is damaged or cannot be read.
        """
        batch = make_batch(self._layout(), {})
        with freed_on_error(batch):
            written = self._write(*(batch[name].numpy() for name in ("image", "depth", "valid")))
        batch["colour"].copy_(torch.tensor([one.colour for one in written]))
        batch["weight"].copy_(torch.tensor([one.weight for one in written]))
        batch["key"] = [one.key for one in written]
        if marks := [one.bad for one in written if one.bad]:
            batch[MARK] = marks
        return batch

    def _write(self, image: NDArray[np.uint8], depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> list[Written]:
        places = range(self._count)
        return [
            write(ViewArrays(image=image[place], depth=depth[place, 0], valid=valid[place, 0]))
            for place, write in zip(places, self._writers, strict=True)
        ]

    def _layout(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        return {
            "image": (torch.uint8, (self._count, 3, *self._size)),
            "depth": (torch.float32, (self._count, 1, *self._size)),
            "valid": (torch.bool, (self._count, 1, *self._size)),
            "colour": (torch.float32, (self._count, 3)),
            "weight": (torch.float32, (self._count,)),
        }


def make_item(size: tuple[int, int], write: Writer) -> dict[str, Any]:
    """Make a single view: the tensors of a batch without their first axis, `key`, and a mark if it is damaged."""
    into = ViewArrays.empty(*size)
    written = write(into)
    item = {
        "image": torch.from_numpy(into.image),
        "depth": torch.from_numpy(into.depth)[None],
        "valid": torch.from_numpy(into.valid)[None],
        "colour": torch.tensor(written.colour),
        "weight": torch.tensor(written.weight),
        "key": written.key,
    }
    return item | ({MARK: written.bad} if written.bad else {})
