"""LightlyTrain on shard sets: the only file that imports it.

`lightly_train.pretrain` takes file names. It gets one name a sample, which is never opened, and a Lightning strategy,
whose public hook `process_dataloader` receives LightlyTrain's own loader (with its transform, batch size and workers)
and returns one of streamed images. Holds for LightlyTrain 0.18; the tests fail if a newer one works another way.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import to_type
from sharding.reading.shard_set import ShardSet
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.saved_run import SavedRun
from training.checkpoint.writer import AtomicCheckpointIO
from training.launch.devices import Devices, Placement, place
from training.launch.group import GROUP_TIMEOUT, AbortsGroup, SameOnAllRanks
from training.loading.dataset import ImageDataset, ImageDraw
from training.loading.loader import Loading, build_loader
from training.loading.read_ahead import ReadAhead
from training.loading.sampler import TrainSampler
from training.model.saved import check_shapes
from training.pretraining.reseed import Reseed
from training.pretraining.saved_models import naming_another_model, with_models, without_modules
from training.profiling.monitor import ThroughputMonitor
from training.profiling.train_progress import replace_bar
from training.streaming.options import Streaming

if TYPE_CHECKING:
    from training.streaming.datasets import StreamedImages

Transform = Callable[[dict[str, Any]], list[dict[str, Tensor]]]
Randomness = Callable[[Sequence[int]], AbstractContextManager[None]]
Source = ShardSet | str | Path
Images: TypeAlias = "ImageDataset | StreamedImages"


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
    """Return arguments that make `lightly_train.pretrain` read shard sets; only their image bytes are fetched.

    Devices are given here, since the strategy depends on them; `lightly_train.pretrain` takes all other arguments.

    Args:
        sets: One set or several: folders, URLs, or open sets.
        where: A condition on the index of each set that is given by folder or URL.
        weights: How often each set is drawn from, relative to the others; None: by size.
        seed: Seed of order and views. (LightlyTrain's own `seed` is that of the initial weights.)
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
        # LightlyTrain computes its schedules from the number of names, and takes those with an image's extension.
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
    """Make the strategy that LightlyTrain would choose for the devices, with a loader of `images`."""
    environment = placement.make_environment()
    if placement.world == 1:
        return StreamSingleDevice(images, placement.devices[0], environment)
    return StreamDDP(images, environment)


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
        """Return `filename`, the key; `views`, float32 (3, h, w) each, normalised; `geometries` if there are any."""
        return self._make_views(self.images[position])

    def __getitems__(self, positions: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the items of a batch, read at once."""
        return [self._make_views(draw) for draw in self.images.__getitems__(positions)]

    def _make_views(self, draw: ImageDraw) -> dict[str, Any]:
        with self.randomness(draw.seed):
            views = self.transform({"image": draw.image})
        item: dict[str, Any] = {"filename": draw.key, "views": [view["image"] for view in views]}
        if all("geometry" in view for view in views):
            item["geometries"] = [view["geometry"] for view in views]
        return item


class StreamStrategy(AbortsGroup):
    """The common base of the strategies below: replaces LightlyTrain's loader of files by one of streamed images.

    Also makes resuming exact, in the middle of an epoch too: the state of the run goes into every checkpoint that
    LightlyTrain writes (see `training.checkpoint.counter`), and each is written whole or not at all.

    Attributes:
        images: Images to train on.
        counter: Counts the samples trained on.
        randomness: See `ViewDataset`.
        keeper: Saves the run in place of LightlyTrain's own callback; None leaves it to that.
        resume_from: Checkpoint to load in place of the one that LightlyTrain finds.
    """

    images: Images
    counter: SampleCounter
    randomness: Randomness | None = None
    keeper: CheckpointKeeper | None = None
    resume_from: Path | None = None

    def connect(self, model: LightningModule) -> None:
        """Add the callbacks: the counter first, so that a callback that saves a step saves it counted."""
        super().connect(model)
        trainer: Any = model.trainer
        same = SameOnAllRanks({"--precision": trainer.precision})  # "auto" may differ between nodes
        trainer.callbacks[:0] = [self.counter, same, ThroughputMonitor()]
        if self.keeper is not None:
            replace_bar(trainer)
            trainer.callbacks.append(self.keeper)
        self._trainer = trainer

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint without the modules that LightlyTrain adds."""
        super().save_checkpoint(without_modules(checkpoint), filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read `resume_from` if it is set, else the checkpoint that LightlyTrain chose; nothing in it is run."""
        path = self.resume_from or Path(checkpoint_path)
        content = super().load_checkpoint(path, True)
        to_type(content, SavedRun, str(path))
        return with_models(content, path)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load the weights, if they are those of this model.

        Raises:
            DataError: They are not.
        """
        wanted = self.lightning_module_state_dict()
        check_shapes(checkpoint["state_dict"], wanted, f"{self.resume_from or 'the checkpoint'}")
        super().load_model_state_dict(checkpoint, strict)

    def process_dataloader(self, dataloader: object) -> DataLoader[Any]:
        """Keep transform, batch size, workers, timeout and collation of LightlyTrain's loader; replace the rest.

        Raises:
            DataError: This is not the loader that LightlyTrain 0.18 makes.
        """
        theirs, transform = _take_transform(dataloader, len(self.images))
        batch_size = int(theirs.batch_size or 1)  # micro-batch of this device
        # Samples of an optimizer step, as `TrainSampler` counts them.
        global_batch = batch_size * self._trainer.world_size * self._trainer.accumulate_grad_batches
        images, sampler = self._plan(global_batch, batch_size)
        self.counter.attach(sampler)
        loading = Loading(
            batch_size=batch_size,
            num_workers=theirs.num_workers,
            # LightlyTrain never pins: its transfers would block the host.
            pin_memory=theirs.pin_memory or self.root_device.type == "cuda",
            timeout_s=theirs.timeout,
            preload=("lightly_train", __name__),
        )
        views = ViewDataset(images, transform, self.randomness)
        return build_loader(views, sampler, loading, collate_fn=theirs.collate_fn)

    def _plan(self, global_batch: int, batch_size: int) -> tuple[Images, TrainSampler]:
        """Return the images, prepared for a loader of such batches, and its sampler."""
        if isinstance(self.images, ImageDataset):
            return self.images, TrainSampler(len(self.images), global_batch, self.images.prepare)
        sampler = TrainSampler(len(self.images), global_batch)
        return self.images.planned(partial(sampler.upcoming, batch_size)), sampler


class StreamSingleDevice(StreamStrategy, SingleDeviceStrategy):
    """A strategy that trains on one device, on streamed images."""

    def __init__(self, images: Images, device: torch.device, environment: ClusterEnvironment | None = None) -> None:
        super().__init__(device=device, checkpoint_io=AtomicCheckpointIO())
        self.cluster_environment = environment  # where the trainer looks for it, before it chooses its own
        self.images, self.counter = images, SampleCounter(images.seed)


class StreamDDP(StreamStrategy, DDPStrategy):
    """A strategy that trains on several devices; parameters may be unused, as in the first epoch of DINO.

    Rank 0's buffers are broadcast before each step, as DDP does by default. Distillation needs it: each rank fills a
    queue of its own there, and a checkpoint has rank 0's alone: ranks with other queues would not resume alike.
    """

    def __init__(self, images: Images, environment: ClusterEnvironment | None = None) -> None:
        super().__init__(
            cluster_environment=environment,
            checkpoint_io=AtomicCheckpointIO(),
            timeout=GROUP_TIMEOUT,
            find_unused_parameters=True,
        )
        self.images, self.counter = images, SampleCounter(images.seed)


def _take_transform(dataloader: object, count: int) -> tuple[DataLoader[Any], Transform]:
    """Return LightlyTrain's loader, checked, and the transform of its data set."""
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


def pretrain(**arguments: Any) -> None:
    """Call `lightly_train.pretrain`; the import takes ten seconds, so it is deferred until it is needed.

    Raises:
        DataError: The checkpoint to resume from holds another model.
    """
    import lightly_train

    with naming_another_model():
        lightly_train.pretrain(**arguments)
