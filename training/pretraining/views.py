"""Views of streamed images, as LightlyTrain's own data set makes them of files."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor
from torch.utils.data import Dataset

from training.launch.whereabouts import note
from training.loading.bad_samples import MARK
from training.loading.dataset import ImageDataset, ImageDraw
from training.loading.read_ahead import ReadAhead
from training.pretraining.reseed import Reseed

if TYPE_CHECKING:
    from training.streaming.datasets import StreamedImages

Transform = Callable[[dict[str, Any]], list[dict[str, Tensor]]]
Randomness = Callable[[Sequence[int]], AbstractContextManager[None]]
Images: TypeAlias = "ImageDataset | StreamedImages"


class ViewDataset(Dataset[dict[str, Any]]):
    """Views of streamed images: item by item those that LightlyTrain's own data set makes of files.

    The views of (epoch, position) are a function of seed, epoch and sample alone, in whatever process they are made.

    Args:
        images: Gives an `ImageDraw` for each (epoch, position).
        transform: LightlyTrain's, from image uint8 (H, W, 3) to a list of views.
        randomness: Context in which the transform is applied to a draw, given the draw's seed; None: `Reseed`.
    """

    def __init__(self, images: Images, transform: Transform, randomness: Randomness | None = None) -> None:
        self.images = images
        self.transform = transform
        self.randomness = randomness or Reseed(transform)

    def __len__(self) -> int:
        return len(self.images)

    def reading_ahead(self, read_ahead: ReadAhead) -> "ViewDataset":
        """Return the same views, of images that are read ahead."""
        if not isinstance(self.images, ImageDataset):
            return self  # a stream is read in sequence anyway
        return ViewDataset(self.images.reading_ahead(read_ahead), self.transform, self.randomness)

    @property
    def remote(self) -> bool:
        """Whether images are read over a network."""
        return self.images.remote

    def __getitem__(self, position: tuple[int, int]) -> dict[str, Any]:
        """Return `filename`, the key; `views`, float32 (3, h, w) each, normalised; `geometries` if there are any.

        If another image takes the place of a damaged one, there is a mark, too (`training.loading.bad_samples`).
        """
        return self._make_views(self.images[position])

    def __getitems__(self, positions: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the items of a batch, read at once."""
        return [self._make_views(draw) for draw in self.images.__getitems__(positions)]

    def _make_views(self, draw: ImageDraw) -> dict[str, Any]:
        note(f"making views of key {draw.key}")
        with self.randomness(draw.seed):
            views = self.transform({"image": draw.image})
        item: dict[str, Any] = {"filename": draw.key, "views": [view["image"] for view in views]}
        if all("geometry" in view for view in views):
            item["geometries"] = [view["geometry"] for view in views]
        if draw.bad is not None:
            item[MARK] = draw.bad
        return item
