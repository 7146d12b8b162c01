"""The loaders of a fine-tuning run, over the subsets that its options choose."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.depth_sets.subsets import Subsets
from training.depth_sets.views import make_augment
from training.evaluation.native_size import native_batch
from training.finetuning.batches import BatchSplit
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler, TrainSampler
from training.streaming.options import streaming_options


@dataclass(frozen=True, kw_only=True)
class DepthData:
    """What a run is trained and validated on, and the loaders of both.

    Attributes:
        subsets: The samples.
        sampler: Sampler of the training loader.
        train_loader: Augmented crops, in micro-batches.
        val_loader: Images at native size.
    """

    subsets: Subsets
    sampler: TrainSampler
    train_loader: "DataLoader[Any]"
    val_loader: "DataLoader[Any]"

    @property
    def train(self) -> ShardSet:
        """Return the training set."""
        return self.subsets.train

    @property
    def val(self) -> ShardSet:
        """Return what is validated on while training."""
        return self.subsets.val


def make_data(config: FinetuneConfig, subsets: Subsets, split: BatchSplit, pin_memory: bool) -> DepthData:
    """Build the loaders of the subsets: augmented training views, validation images at native size.

    Raises:
        UsageError: The training set is smaller than a batch.
    """
    val = subsets.val
    crops, sampler = _make_crops(config, subsets.train, split.micro_batch)
    native = native_batch(val.rows)

    def loading(batch_size: int) -> Loading:
        return Loading(batch_size=batch_size, num_workers=config.num_workers, pin_memory=pin_memory)

    return DepthData(
        subsets=subsets,
        sampler=sampler,
        train_loader=build_loader(crops, sampler, loading(split.micro_batch)),
        val_loader=build_loader(DiodeDepthDataset(val), EvalSampler(len(val), native), loading(native)),
    )


def _make_crops(config: FinetuneConfig, train: ShardSet, micro_batch: int) -> tuple[Dataset[Any], TrainSampler]:
    """Build the augmented training set, read by index or streamed as the options tell, and its sampler."""
    augment, streaming = make_augment(config), streaming_options(config)
    if streaming is None:
        tolerant = config.max_bad > 0
        crops = DiodeDepthDataset(train, augment=augment, seed=config.seed, shuffle=True, tolerant=tolerant)
        return crops, TrainSampler(len(train), config.batch_size, crops.prepare)
    from training.streaming.datasets import StreamedDepth  # imports webdataset, which reading by index does not need

    sampler = TrainSampler(len(train), config.batch_size)
    plan = partial(sampler.upcoming, micro_batch)
    return StreamedDepth(train, streaming, plan, augment=augment, seed=config.seed), sampler


def mean_log_depth(samples: ShardSet) -> float:
    """Average the natural log of the samples' median depths (metres), from the index alone; all have a valid pixel."""
    return float(np.log(samples.rows["depth_median"].to_numpy(np.float64)).mean())
