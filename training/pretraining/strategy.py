"""Lightning strategies that feed LightlyTrain streamed images, and make its runs exact to resume.

A strategy's public hook `process_dataloader` receives LightlyTrain's own loader (with its transform, batch size and
workers) and returns one of streamed images. Holds for LightlyTrain 0.18; the tests fail if a newer one works another
way.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.utils.data import DataLoader

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import to_type
from training.checkpoint.budget import BadSampleBudget
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.saved_run import SavedRun
from training.checkpoint.writer import AtomicCheckpointIO
from training.config import ViewsOn
from training.launch.devices import Placement
from training.launch.group import GROUP_TIMEOUT, AbortsGroup, SameOnAllRanks
from training.loading.images import ImageDataset
from training.loading.loader import build_loader
from training.loading.sampler import TrainSampler
from training.monitoring.monitor import ThroughputMonitor
from training.monitoring.train_progress import replace_bar
from training.network.saved import check_shapes
from training.pretraining.collapse import CollapseGuard
from training.pretraining.saved_models import with_models, without_modules
from training.pretraining.their_loader import loading_like, take_transform
from training.pretraining.views import Images, Seeding, ViewDataset
from training.views.batch import DrawCollation, EncodedDataset
from training.views.preview import ViewPreview
from training.views.recipe import read_recipe
from training.views.render import ViewRenderer
from training.views.shared_memory import check_views_room


def make_strategy(
    images: Images,
    placement: Placement,
    budget: BadSampleBudget | None = None,
    *,
    follows_seed: bool = False,
    views: ViewsOn = "cpu",
) -> "StreamStrategy":
    """Make the strategy that LightlyTrain would choose for the devices, with a loader of `images`.

    Args:
        images: Images to train on.
        placement: Devices and processes of the run.
        budget: Counts damaged samples; None: there may be none.
        follows_seed: Whether the run's seed, which LightlyTrain is given, takes the place of that of `images`.
        views: Where views are made.
    """
    environment = placement.make_environment()
    strategy: StreamStrategy
    if placement.world == 1:
        strategy = StreamSingleDevice(images, placement.devices[0], environment, budget)
    else:
        strategy = StreamDDP(images, environment, budget)
    strategy.follows_seed, strategy.views_on = follows_seed, views
    return strategy


class StreamStrategy(AbortsGroup):
    """The common base of the strategies below: replaces LightlyTrain's loader of files by one of streamed images.

    Also makes resuming exact, in the middle of an epoch too: the state of the run goes into every checkpoint that
    LightlyTrain writes (see `training.checkpoint.counter`), and each is written whole or not at all.

    Attributes:
        images: Images to train on.
        counter: Counts the samples trained on.
        budget: Counts damaged samples.
        follows_seed: See `make_strategy`.
        seeding: See `ViewDataset`.
        views_on: Where views are made: "cpu" by the loader's workers, "gpu" on the device of the run, whatever that is.
        keeper: Saves the run in place of LightlyTrain's own callback; None leaves it to that.
        resume_from: Checkpoint to load in place of the one that LightlyTrain finds.
        preview: Picture of the first views to write; None for none.
        loader_args: Those that the user gave, as far as they are known; see `loading_like`.
        trainer: Lightning's, once there is one.
        has_loader: Whether LightlyTrain has made its loader: by then it has taken all its arguments.
    """

    images: Images
    counter: SampleCounter
    budget: BadSampleBudget
    follows_seed: bool = False
    seeding: Seeding | None = None
    views_on: ViewsOn = "cpu"
    keeper: CheckpointKeeper | None = None
    resume_from: Path | None = None
    preview: Path | None = None
    _renderer: ViewRenderer | None = None
    loader_args: Mapping[str, Any] = MappingProxyType({})
    trainer: Trainer | None = None
    has_loader: bool = False

    @property
    def epochs(self) -> int:
        """Return the epochs that LightlyTrain decided on, once it has a trainer."""
        return 0 if self.trainer is None else int(self.trainer.max_epochs or 0)

    @property
    def steps(self) -> int:
        """Return the optimizer steps of the run until now."""
        return 0 if self.trainer is None else self.trainer.global_step

    def connect(self, model: LightningModule) -> None:
        """Add the callbacks: the counter first, so that a callback that saves a step saves it counted."""
        super().connect(model)
        trainer: Any = model.trainer
        same = SameOnAllRanks({"--precision": trainer.precision})  # "auto" may differ between nodes
        trainer.callbacks[:0] = [self.counter, self.budget, same, CollapseGuard(), ThroughputMonitor()]
        if self.keeper is not None:
            replace_bar(trainer)
            trainer.callbacks.append(self.keeper)
        self.trainer = trainer

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
        """Replace LightlyTrain's loader by one of streamed images: its transform and collation, loaded as it was set.

        Its timeout is left out: it would cut off a read that is still retried, and what waits in a worker has limits.

        Raises:
            DataError: This is not the loader that LightlyTrain 0.18 makes.
            UsageError: It was made with `loader_args` that cannot be honoured, the sets have less samples than a step,
                views are to be made on the device and its transform is not understood, or workers would have too little
                shared memory.
        """
        self.has_loader = True
        theirs, transform = take_transform(dataloader, len(self.images))
        if self.follows_seed:
            self.counter.seed = _seed_of_run()
            self.images = self.images.seeded(self.counter.seed)
        page_locked = self.root_device.type == "cuda"  # LightlyTrain never pins: its transfers would block the host
        loading = loading_like(theirs, self.images, self.loader_args, page_locked=page_locked)
        images, sampler = self._plan(self._global_batch(loading.batch_size), loading.batch_size)
        self.counter.attach(sampler)
        if self.preview is not None:
            self._add_preview(self.preview, transform)
        if self.views_on == "cpu":
            trainer: Any = self.trainer
            batches = len(images) // (loading.batch_size * trainer.world_size)
            check_views_room(transform, loading, batches, ranks=trainer.num_devices)
            # Our collation makes the same batches as torch's, which is LightlyTrain's.
            return build_loader(ViewDataset(images, transform, self.seeding), sampler, loading)
        recipe = read_recipe(transform)
        self._renderer = ViewRenderer(recipe)
        collation = DrawCollation(recipe, tolerant=self.budget.tolerates)
        loading = replace(loading, preload=("training.views.batch",))  # its workers need no LightlyTrain
        return build_loader(EncodedDataset(images), sampler, loading, collate_fn=collation)

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """Move a batch to the device; if views are made there, make them, as LightlyTrain's batch has them."""
        if self._renderer is not None:
            made = self._renderer(batch, device or self.root_device)
            batch = self.precision_plugin.convert_input(made)  # Lightning has called it for what is no view yet
        return super().batch_to_device(batch, device, dataloader_idx)

    def _add_preview(self, path: Path, transform: Any) -> None:
        trainer: Any = self.trainer
        scale = transform.transform_args.normalize
        trainer.callbacks.append(ViewPreview(path, scale.mean, scale.std))

    def _global_batch(self, batch_size: int) -> int:
        """Return the samples of an optimizer step, as `TrainSampler` counts them, for such micro-batches.

        Raises:
            UsageError: They are more than the sets have.
        """
        trainer: Any = self.trainer
        count: int = batch_size * trainer.world_size * trainer.accumulate_grad_batches
        if count > len(self.images):
            raise UsageError(
                f"a step of {trainer.accumulate_grad_batches} micro-batches of {batch_size} samples on each of "
                f"{trainer.world_size} devices has {count} samples, and the sets {len(self.images)}: give a smaller "
                "batch_size, or fewer gradient_accumulation_steps"
            )
        return count

    def _plan(self, global_batch: int, batch_size: int) -> tuple[Images, TrainSampler]:
        """Return the images, prepared for a loader of such batches, and its sampler."""
        if isinstance(self.images, ImageDataset):
            return self.images, TrainSampler(len(self.images), global_batch, self.images.prepare)
        sampler = TrainSampler(len(self.images), global_batch)
        return self.images.planned(partial(sampler.upcoming, batch_size), encoded=self.views_on == "gpu"), sampler


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


def _seed_of_run() -> int:
    """Return the seed that LightlyTrain was given, which Lightning's `seed_everything` keeps in the environment.

    Raises:
        DataError: It is not there.
    """
    if (text := os.environ.get("PL_GLOBAL_SEED")) is None:
        raise DataError(
            "expected the seed of the run in PL_GLOBAL_SEED, where LightlyTrain 0.18 has it; found none: give "
            "stream_arguments a seed"
        )
    return int(text)
