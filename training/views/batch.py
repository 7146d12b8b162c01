"""A batch for the device: the encoded images of a loader worker become one flat buffer of pixels, and what was drawn.

    pixels    image 0 | image 1 | ...     of each the part that its views show, decoded at 1, 1/2, 1/4 or 1/8
    images    (B, 5) first pixel, width, left, top, divisor
    draws     (B, V, ...) of `training.views.draws`

That part is the fewest bytes: of images of 1600 x 1200, 1.06 MB on average for simclr and 1.17 MB for dino, where the
whole decoded image has 1.75 and 1.43, and the crops have 1.28 and 2.14. No decoder here writes to a buffer that is
given to it, so that each part is copied once, while the processor's cache still holds it (0.1 ms).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sharding.errors import DamagedSample, DataError
from training.launch.whereabouts import note
from training.loading.bad_samples import MARK, BadSample, fill_places
from training.loading.images import EncodedDraw
from training.loading.read_ahead import ReadAhead
from training.loading.shared_batch import freed_on_error, make_batch
from training.loading.upcoming import Position
from training.views.draws import Draws, draw_views
from training.views.recipe import ViewRecipe
from training.views.reduced import Header, choose_divisors, decode_reduced, read_size

_CHANNELS = 3


class EncodedImages(Protocol):
    """Images that can be had as files: `ImageDataset`, `StreamedImages`."""

    def __len__(self) -> int: ...

    @property
    def remote(self) -> bool:
        """Whether they are read over a network."""
        ...

    def read_encoded(self, positions: Sequence[Position]) -> list[EncodedDraw]:
        """Read the draws of a batch, not decoded."""
        ...


@runtime_checkable
class ReadAheadImages(Protocol):
    """Images that can be read ahead."""

    def reading_ahead(self, read_ahead: ReadAhead) -> EncodedImages:
        """Return the same images, read through `read_ahead`."""
        ...


class EncodedDataset(Dataset[EncodedDraw]):
    """Encoded images, by (epoch, position).

    Args:
        images: Where they are read from.
    """

    def __init__(self, images: EncodedImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def remote(self) -> bool:
        """Whether images are read over a network."""
        return self.images.remote

    def reading_ahead(self, read_ahead: ReadAhead) -> "EncodedDataset":
        """Return the same images, read ahead."""
        if not isinstance(self.images, ReadAheadImages):
            return self  # a stream is read in sequence anyway
        return EncodedDataset(self.images.reading_ahead(read_ahead))

    def __getitem__(self, position: Position) -> EncodedDraw:
        return self.images.read_encoded([position])[0]

    def __getitems__(self, positions: Sequence[Position]) -> list[EncodedDraw]:
        """Return the images of a batch, read at once."""
        return self.images.read_encoded(positions)


class DrawCollation:
    """Makes batches for `ViewRenderer` of encoded images (`DataLoader(collate_fn=...)`): draws, decodes and cuts.

    Args:
        recipe: Of the views.
        tolerant: Whether another image of the batch takes the place of one that does not decode
            (`training.loading.bad_samples`).
    """

    def __init__(self, recipe: tuple[ViewRecipe, ...], *, tolerant: bool = False) -> None:
        self.recipe, self.tolerant = recipe, tolerant

    def __call__(self, encoded: Sequence[EncodedDraw]) -> dict[str, Any]:
        """Return a batch: `filename`, the keys; `pixels`, `images` and `draws`, each uint8.

        Raises:
            DataError: An image is damaged; names shard and key.
        """
        found: list[BadSample] = []
        while True:
            try:
                batch = self._make(encoded)
                break
            except _Undecodable as failure:
                if not self.tolerant:
                    raise failure.error from failure
                encoded, more = _replace(encoded, failure)  # and all over again: it is rare
                found += more
        if found:
            batch[MARK] = found
        return batch

    def _make(self, encoded: Sequence[EncodedDraw]) -> dict[str, Any]:
        headers = [_located(place, one, read_size, one.data) for place, one in enumerate(encoded)]
        sizes = np.array([(one.height, one.width) for one in headers], np.int64)
        draws = draw_views(self.recipe, [one.seed for one in encoded], sizes)
        reducible = np.array([one.reducible for one in headers])
        divisors = np.where(reducible, choose_divisors(self.recipe, draws), 1)
        return _fill(encoded, headers, _find_parts(draws, divisors), draws)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The part of each decoded image that its views show: int64 (B,) each, pixels of the decoded image."""

    left: NDArray[np.int64]
    top: NDArray[np.int64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    divisor: NDArray[np.int64]

    @property
    def ends(self) -> NDArray[np.int64]:
        """One past the last pixel of each part in the buffer."""
        return np.cumsum(self.width * self.height)

    def cut(self, number: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the part out of a decoded image."""
        top, left = self.top[number], self.left[number]
        return pixels[top : top + self.height[number], left : left + self.width[number]]


def _find_parts(draws: Draws, divisor: NDArray[np.int64]) -> _Parts:
    """Find the smallest box around the views of each image."""
    left, top = draws.left.min(axis=1) // divisor, draws.top.min(axis=1) // divisor
    right = -(-(draws.left + draws.width).max(axis=1) // divisor)
    bottom = -(-(draws.top + draws.height).max(axis=1) // divisor)
    found = {"left": left, "top": top, "width": right - left, "height": bottom - top, "divisor": divisor}
    return _Parts(**{name: value.astype(np.int64) for name, value in found.items()})


def _fill(encoded: Sequence[EncodedDraw], headers: Sequence[Header], parts: _Parts, draws: Draws) -> dict[str, Any]:
    """Decode the images into a block that is shared with the training process."""
    firsts = parts.ends - parts.width * parts.height  # in pixels
    table = np.stack([firsts, parts.width, parts.left, parts.top, parts.divisor], axis=1)
    packed = draws.pack()
    # Everything is uint8: a run in bfloat16 would have its floating-point numbers converted to it on the way.
    shapes = {
        "pixels": (int(parts.ends[-1]) * _CHANNELS,),
        "images": (*table.shape[:-1], table.shape[-1] * table.itemsize),
        "draws": (*packed.shape[:-1], packed.shape[-1] * packed.itemsize),
    }
    tensors = {name: (torch.uint8, shape) for name, shape in shapes.items()}
    batch = make_batch(tensors, {"filename": [one.key for one in encoded]}, varies=True)
    batch["images"].view(torch.int64).copy_(torch.from_numpy(table))
    batch["draws"].view(torch.float64).copy_(torch.from_numpy(packed))
    pixels = batch["pixels"].view(-1, _CHANNELS).numpy()
    with freed_on_error(batch):
        for number, (one, header, first, end) in enumerate(zip(encoded, headers, firsts, parts.ends, strict=True)):
            decoded = _located(number, one, decode_reduced, one.data, int(parts.divisor[number]), header)
            part = parts.cut(number, decoded)
            pixels[first:end].reshape(part.shape)[:] = part
    return batch


class _Undecodable(Exception):
    """An image of a batch fails to decode."""

    def __init__(self, place: int, error: DamagedSample) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


def _replace(encoded: Sequence[EncodedDraw], failure: _Undecodable) -> tuple[list[EncodedDraw], list[BadSample]]:
    """Put other images in the places of one that does not decode, its own and those where it stood in for another.

    Returns:
        The batch, and the damaged samples that were not known before.
    """
    lost = encoded[failure.place].data
    found = [
        BadSample(draw.seed[2], draw.key, str(failure.error))
        for draw in encoded
        if draw.data is lost and draw.bad is None
    ]
    left = [(draw.bad or found[0]) if draw.data is lost else draw for draw in encoded]
    return list(fill_places(left, [draw.seed for draw in encoded])), found


def _located(place: int, draw: EncodedDraw, decode: Any, *arguments: Any) -> Any:
    """Call a decoder for an image of the batch; its errors name where the image is."""
    note(f"decoding {draw.origin}")
    try:
        return decode(*arguments)
    except DataError as error:
        raise _Undecodable(place, DamagedSample(f"{draw.origin}: {error}")) from error


def read_images(batch: dict[str, Any]) -> NDArray[np.int64]:
    """Return the table of a batch's images, int64 (B, 5): first pixel, width, left, top, divisor."""
    table: Tensor = batch["images"].view(torch.int64)
    return table.numpy()


def read_draws(batch: dict[str, Any]) -> Draws:
    """Return what was drawn for a batch, float64 (B, V) each."""
    return Draws.unpack(batch["draws"].view(torch.float64).numpy())
