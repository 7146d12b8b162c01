"""Views of streamed images, as LightlyTrain's own data set makes them of files."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor
from torch.utils.data import Dataset

from training.launch.whereabouts import note
from training.loading.bad_samples import MARK
from training.loading.images import ImageDataset, ImageDraw
from training.loading.read_ahead import ReadAhead
from training.loading.shared_batch import Unmade
from training.pretraining.reseed import Reseed, preserved_globals

if TYPE_CHECKING:
    from training.streaming.datasets import StreamedImages

Transform = Callable[[dict[str, Any]], list[dict[str, Tensor]]]
Seeding = Callable[[Sequence[int]], None]
Images: TypeAlias = "ImageDataset | StreamedImages"


class ViewDataset(Dataset[dict[str, Any]]):
    """Views of streamed images: item by item those that LightlyTrain's own data set makes of files.

    The views of (epoch, position) are a function of seed, epoch and sample alone, in whatever process they are made.

    Args:
        images: Gives an `ImageDraw` for each (epoch, position).
        transform: LightlyTrain's, from image uint8 (H, W, 3) to a list of views.
        seeding: Called with the seed of a draw before the transform is applied to it; None: `Reseed`.
    """

    def __init__(self, images: Images, transform: Transform, seeding: Seeding | None = None) -> None:
        self.images = images
        self.transform = transform
        self.seeding = seeding or Reseed(transform).seed

    def __len__(self) -> int:
        return len(self.images)

    def reading_ahead(self, read_ahead: ReadAhead) -> "ViewDataset":
        """Return the same views, of images that are read ahead."""
        if not isinstance(self.images, ImageDataset):
            return self  # a stream is read in sequence anyway
        return ViewDataset(self.images.reading_ahead(read_ahead), self.transform, self.seeding)

    @property
    def remote(self) -> bool:
        """Whether images are read over a network."""
        return self.images.remote

    def __getitem__(self, position: tuple[int, int]) -> dict[str, Any]:
        """Return `filename`, the key; `views`, float32 (3, h, w) each, normalised; `geometries` if there are any.

        If another image takes the place of a damaged one, there is a mark, too (`training.loading.bad_samples`).
        """
        return next(self._make_items([position]))

    def __getitems__(self, positions: list[tuple[int, int]]) -> Unmade:
        """Return the items of a batch, whose images are read at once; each is made when it is asked for."""
        return Unmade(len(positions), self._make_items(positions))

    def _make_items(self, positions: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        with preserved_globals():
            for draw in self.images.iterate(positions):
                note(f"making views of key {draw.key}")
                self.seeding(draw.seed)
                yield _to_item(draw, self.transform({"image": draw.image}))


def _to_item(draw: ImageDraw, views: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    item: dict[str, Any] = {"filename": draw.key, "views": [view["image"] for view in views]}
    if all("geometry" in view for view in views):
        item["geometries"] = [view["geometry"] for view in views]
    if draw.bad is not None:
        item[MARK] = draw.bad
    return item
