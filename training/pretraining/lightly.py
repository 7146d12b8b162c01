"""LightlyTrain on shard sets: the only file that knows it.

`lightly_train.pretrain` takes file names. It is given one name a sample, which nobody opens, and a Lightning strategy,
whose public hook `process_dataloader` receives LightlyTrain's own loader (with its transform, batch size and workers)
and hands back ours. Holds for LightlyTrain 0.18; the tests say when a newer one no longer works this way.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.writer import AtomicCheckpointIO
from training.launch.devices import Devices, Placement, place
from training.loading.dataset import ImageDataset, ImageDraw
from training.loading.loader import Loading, build_loader
from training.loading.read_ahead import ReadAhead
from training.loading.sampler import TrainSampler
from training.pretraining.reseed import Reseed
from training.profiling.monitor import ThroughputMonitor
from training.streaming.options import Streaming

if TYPE_CHECKING:
    from training.streaming.datasets import StreamedImages

Transform = Callable[[dict[str, Any]], list[dict[str, Tensor]]]
Randomness = Callable[[Sequence[int]], AbstractContextManager[None]]
Source = ShardSet | str | Path
Images: TypeAlias = "ImageDataset | StreamedImages"

# From LightlyTrain's depth estimation tutorial. Outdoors, far is up: the conservative views keep that.
AUGMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "conservative": {
        "random_flip": {"vertical_prob": 0.0, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 15},
    },
    "aggressive": {
        "random_flip": {"vertical_prob": 0.5, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 90},
    },
}
HIDDEN_METHODS = ("densecl",)  # LightlyTrain has it, but does not list it
TRANSFORMER_METHODS = ("dinov2", "dinov31")  # need a vision transformer


def get_transform_args(augmentation: str) -> dict[str, Any]:
    """The tutorial's `transform_args` for `lightly_train.pretrain`.

    Args:
        augmentation: "conservative" (tilts to 15 degrees, no vertical flip) or "aggressive" (to 90, vertical flips).

    Raises:
        UsageError: There is no such augmentation.
    """
    if augmentation not in AUGMENTATIONS:
        raise UsageError(f"no augmentation {augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
    return copy.deepcopy(dict(AUGMENTATIONS[augmentation]))


def stream_arguments(
    sets: Source | Sequence[Source],
    *,
    where: str | None = None,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    devices: Devices = "auto",
    accelerator: str = "auto",
    streaming: Streaming | None = None,
) -> dict[str, Any]:
    """Arguments that make `lightly_train.pretrain` read shard sets; only their image bytes are fetched.

    Devices are given here, since they decide about the strategy; every other argument keeps its meaning there.

    Args:
        sets: One set or several: folders, URLs, or open sets.
        where: A pandas query on the index of each set that is given by folder or URL.
        weights: How often each set is drawn from, relative to the others; None: by size.
        seed: Of order and views. (LightlyTrain's own `seed` is that of the initial weights.)
        devices: How many, or which, or "auto".
        accelerator: "auto", "gpu" or "cpu".
        streaming: How to stream whole shards by webdataset; None reads by the index. Takes no weights.

    Returns:
        `data`, `strategy`, `devices`, `num_nodes` and `accelerator`.

    Raises:
        UsageError: There are no such devices, or a set has no such samples.
        DataError: A set cannot be read.

    Example:
        >>> lightly_train.pretrain(**stream_arguments("sets/megadepth"), out="run", model="torchvision/resnet50",
        ...                        method="dino", transform_args=get_transform_args("conservative"))  # doctest: +SKIP
    """
    listed = [sets] if isinstance(sets, Source) else list(sets)
    if where is not None and any(isinstance(source, ShardSet) for source in listed):
        raise UsageError("where: an open set is a subset already; give it to ShardSet(url, where)")
    opened = [source if isinstance(source, ShardSet) else ShardSet(source, where) for source in listed]
    placement = place(accelerator, devices)
    return {
        # The count must be true, for LightlyTrain sizes its schedules by it; it takes what ends like an image.
        "data": [f"{key}.jpg" for one in opened for key in one.index["key"]],
        "strategy": make_strategy(_open_images(opened, weights, seed, streaming), placement),
    } | placement.trainer_arguments()


def _open_images(
    opened: Sequence[ShardSet], weights: Sequence[float] | None, seed: int, streaming: Streaming | None
) -> Images:
    if streaming is None:
        return ImageDataset(opened, weights, seed=seed)
    if weights is not None:
        raise UsageError("weights: streaming takes every sample once; leave them out, or read by the index")
    from training.streaming.datasets import StreamedImages  # needs webdataset

    return StreamedImages(opened, streaming, seed=seed)


def make_strategy(images: Images, placement: Placement) -> "StreamStrategy":
    """A strategy that trains on `images`: what LightlyTrain would choose for the devices, with our loader."""
    environment = placement.make_environment()
    if placement.world == 1:
        return StreamSingleDevice(images, placement.devices[0], environment)
    return StreamDDP(images, environment)


class ViewDataset(Dataset[dict[str, Any]]):
    """Views of streamed images: item by item what LightlyTrain's own data set makes of files.

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
        """The same views, of images that are read ahead."""
        if not isinstance(self.images, ImageDataset):
            return self  # a stream has no need to
        return ViewDataset(self.images.reading_ahead(read_ahead), self.transform, self.randomness)

    @property
    def remote(self) -> bool:
        """Whether images are read over a network."""
        return self.images.remote

    def __getitem__(self, position: tuple[int, int]) -> dict[str, Any]:
        """`filename`, the key; `views`, float32 (3, h, w) each, normalised; `geometries` if the transform tells."""
        return self._make_views(self.images[position])

    def __getitems__(self, positions: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """The items of a batch, read at once."""
        return [self._make_views(draw) for draw in self.images.__getitems__(positions)]

    def _make_views(self, draw: ImageDraw) -> dict[str, Any]:
        with self.randomness(draw.seed):
            views = self.transform({"image": draw.image})
        item: dict[str, Any] = {"filename": draw.key, "views": [view["image"] for view in views]}
        if all("geometry" in view for view in views):
            item["geometries"] = [view["geometry"] for view in views]
        return item


class StreamStrategy(Strategy):
    """What the strategies below share: LightlyTrain's loader of files is replaced by one of streamed images.

    Also makes resuming exact, in the middle of an epoch too: the state of the run goes into every checkpoint that
    LightlyTrain writes (see `training.checkpoint.counter`), and each is written whole or not at all.

    Attributes:
        images: What to train on.
        counter: Of the samples trained on.
        randomness: See `ViewDataset`.
        keeper: Saves the run, if LightlyTrain's own callback is not to.
        resume_from: Checkpoint to load in place of the one that LightlyTrain finds.
    """

    images: Images
    counter: SampleCounter
    randomness: Randomness | None = None
    keeper: CheckpointKeeper | None = None
    resume_from: Path | None = None

    def connect(self, model: LightningModule) -> None:
        """Add the callbacks: the count first, so that whoever saves a step has counted it."""
        super().connect(model)
        trainer: Any = model.trainer
        trainer.callbacks[:0] = [self.counter, ThroughputMonitor()]
        if self.keeper is not None:
            trainer.callbacks.append(self.keeper)
        self._trainer = trainer

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint."""
        return super().load_checkpoint(self.resume_from or checkpoint_path, weights_only)

    def process_dataloader(self, dataloader: object) -> DataLoader[Any]:
        """Keep transform, batch size, workers, timeout and collation of LightlyTrain's loader; replace the rest.

        Raises:
            DataError: This is not the loader that LightlyTrain 0.18 makes.
        """
        theirs, transform = _take_transform(dataloader, len(self.images))
        batch_size = int(theirs.batch_size or 1)  # micro-batch of this device
        global_batch = batch_size * self._trainer.world_size * self._trainer.accumulate_grad_batches
        images, sampler = self._plan(global_batch, batch_size)
        self.counter.attach(sampler)
        loading = Loading(
            batch_size=batch_size,
            num_workers=theirs.num_workers,
            pin_memory=theirs.pin_memory,
            timeout_s=theirs.timeout,
            preload=("lightly_train", __name__),
        )
        views = ViewDataset(images, transform, self.randomness)
        return build_loader(views, sampler, loading, collate_fn=theirs.collate_fn)

    def _plan(self, global_batch: int, batch_size: int) -> tuple[Images, TrainSampler]:
        """The images, ready for a loader of such batches, and its sampler."""
        if isinstance(self.images, ImageDataset):
            return self.images, TrainSampler(len(self.images), global_batch, self.images.prepare)
        sampler = TrainSampler(len(self.images), global_batch)
        return self.images.planned(partial(sampler.upcoming, batch_size)), sampler


class StreamSingleDevice(StreamStrategy, SingleDeviceStrategy):
    """Train on one device, on streamed images."""

    def __init__(self, images: Images, device: torch.device, environment: ClusterEnvironment | None = None) -> None:
        super().__init__(device=device, checkpoint_io=AtomicCheckpointIO())
        self.cluster_environment = environment  # the trainer looks for one here, else it chooses its own
        self.images, self.counter = images, SampleCounter(images.seed)


class StreamDDP(StreamStrategy, DDPStrategy):
    """Train on several devices, on streamed images; parameters may be unused, as in the first epoch of DINO."""

    def __init__(self, images: Images, environment: ClusterEnvironment | None = None) -> None:
        super().__init__(
            cluster_environment=environment, checkpoint_io=AtomicCheckpointIO(), find_unused_parameters=True
        )
        self.images, self.counter = images, SampleCounter(images.seed)


def _take_transform(dataloader: object, count: int) -> tuple[DataLoader[Any], Transform]:
    """LightlyTrain's loader, and the transform within it."""
    dataset: Any = getattr(dataloader, "dataset", None)
    transform = getattr(dataset, "transform", None)
    if not isinstance(dataloader, DataLoader) or transform is None:
        raise DataError(
            f"expected a DataLoader whose dataset has a transform, found {type(dataloader).__name__} of "
            f"{type(dataset).__name__}: this is not how LightlyTrain 0.18 makes its loader; install that release"
        )
    if len(dataset) != count:
        raise DataError(
            f"expected {count} names, one a sample of the sets; LightlyTrain has {len(dataset)}: give it `data` as "
            "stream_arguments returns it, and resume a run with the sets it was begun with"
        )
    return dataloader, transform


def unpickle_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that LightlyTrain wrote; its tensors stay on the disk until they are used.

    LightlyTrain keeps whole modules in it, so it is unpickled: read only checkpoints that you wrote yourself.
    """
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    return content


def list_methods() -> list[str]:
    """Pretraining methods of the installed LightlyTrain that train a torchvision model."""
    import lightly_train

    return sorted({*lightly_train.list_methods(), *HIDDEN_METHODS} - {*TRANSFORMER_METHODS})


def list_models() -> list[str]:
    """Models that the installed LightlyTrain can pretrain, such as "torchvision/resnet50"."""
    import lightly_train

    return list(lightly_train.list_models())


def pretrain(**arguments: Any) -> None:
    """Call `lightly_train.pretrain`; the import takes ten seconds, so it waits until it is needed."""
    import lightly_train

    lightly_train.pretrain(**arguments)
