"""Lightning strategies that feed LightlyTrain streamed images, and make its runs exact to resume.

A strategy's public hook `process_dataloader` receives LightlyTrain's own loader (with its transform, batch size and
workers) and returns one of streamed images. Holds for LightlyTrain 0.18; the tests fail if a newer one works another
way.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.utils.data import DataLoader, default_collate

from sharding.errors import DataError
from sharding.format.strict_json import to_type
from training.checkpoint.budget import BadSampleBudget
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.saved_run import SavedRun
from training.checkpoint.writer import AtomicCheckpointIO
from training.launch.devices import Placement
from training.launch.group import GROUP_TIMEOUT, AbortsGroup, SameOnAllRanks
from training.loading.dataset import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.model.saved import check_shapes
from training.pretraining.saved_models import with_models, without_modules
from training.pretraining.views import Images, Randomness, Transform, ViewDataset
from training.profiling.monitor import ThroughputMonitor
from training.profiling.train_progress import replace_bar


def make_strategy(images: Images, placement: Placement, budget: BadSampleBudget | None = None) -> "StreamStrategy":
    """Make the strategy that LightlyTrain would choose for the devices, with a loader of `images`."""
    environment = placement.make_environment()
    if placement.world == 1:
        return StreamSingleDevice(images, placement.devices[0], environment, budget)
    return StreamDDP(images, environment, budget)


class StreamStrategy(AbortsGroup):
    """The common base of the strategies below: replaces LightlyTrain's loader of files by one of streamed images.

    Also makes resuming exact, in the middle of an epoch too: the state of the run goes into every checkpoint that
    LightlyTrain writes (see `training.checkpoint.counter`), and each is written whole or not at all.

    Attributes:
        images: Images to train on.
        counter: Counts the samples trained on.
        budget: Counts damaged samples.
        randomness: See `ViewDataset`.
        keeper: Saves the run in place of LightlyTrain's own callback; None leaves it to that.
        resume_from: Checkpoint to load in place of the one that LightlyTrain finds.
    """

    images: Images
    counter: SampleCounter
    budget: BadSampleBudget
    randomness: Randomness | None = None
    keeper: CheckpointKeeper | None = None
    resume_from: Path | None = None

    def connect(self, model: LightningModule) -> None:
        """Add the callbacks: the counter first, so that a callback that saves a step saves it counted."""
        super().connect(model)
        trainer: Any = model.trainer
        same = SameOnAllRanks({"--precision": trainer.precision})  # "auto" may differ between nodes
        trainer.callbacks[:0] = [self.counter, self.budget, same, ThroughputMonitor()]
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
        """Keep transform, batch size, workers and collation of LightlyTrain's loader; replace the rest.

        Its timeout is left out: it would cut off a read that is still retried, and what waits in a worker has limits.

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
            preload=("lightly_train", __name__),
        )
        views = ViewDataset(images, transform, self.randomness)
        # Ours makes the same batches as torch's; one that a user gave is kept.
        collate_fn = None if theirs.collate_fn is default_collate else theirs.collate_fn
        return build_loader(views, sampler, loading, collate_fn=collate_fn)

    def _plan(self, global_batch: int, batch_size: int) -> tuple[Images, TrainSampler]:
        """Return the images, prepared for a loader of such batches, and its sampler."""
        if isinstance(self.images, ImageDataset):
            return self.images, TrainSampler(len(self.images), global_batch, self.images.prepare)
        sampler = TrainSampler(len(self.images), global_batch)
        return self.images.planned(partial(sampler.upcoming, batch_size)), sampler


class StreamSingleDevice(StreamStrategy, SingleDeviceStrategy):
    """A strategy that trains on one device, on streamed images."""

    def __init__(
        self,
        images: Images,
        device: torch.device,
        environment: ClusterEnvironment | None = None,
        budget: BadSampleBudget | None = None,
    ) -> None:
        super().__init__(device=device, checkpoint_io=AtomicCheckpointIO())
        self.cluster_environment = environment  # where the trainer looks for it, before it chooses its own
        self.images, self.counter, self.budget = images, SampleCounter(images.seed), budget or BadSampleBudget(0)


class StreamDDP(StreamStrategy, DDPStrategy):
    """A strategy that trains on several devices; parameters may be unused, as in the first epoch of DINO.

    Rank 0's buffers are broadcast before each step, as DDP does by default. Distillation needs it: each rank fills a
    queue of its own there, and a checkpoint has rank 0's alone: ranks with other queues would not resume alike.
    """

    def __init__(
        self,
        images: Images,
        environment: ClusterEnvironment | None = None,
        budget: BadSampleBudget | None = None,
    ) -> None:
        super().__init__(
            cluster_environment=environment,
            checkpoint_io=AtomicCheckpointIO(),
            timeout=GROUP_TIMEOUT,
            find_unused_parameters=True,
        )
        self.images, self.counter, self.budget = images, SampleCounter(images.seed), budget or BadSampleBudget(0)


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
