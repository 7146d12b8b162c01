"""The training and the validation set of a fine-tuning run, checked for metric depth, and their loaders."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from sharding.stores.node_cache import CacheSettings
from training.config import FinetuneConfig, cache_settings
from training.evaluation.evaluate import native_batch
from training.finetuning.batches import BatchSplit
from training.finetuning.check import check_metric
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler, TrainSampler
from training.streaming.options import streaming_options


@dataclass(frozen=True, kw_only=True)
class DepthData:
    """The training and the validation set, and their loaders.

    Attributes:
        train: Training set, metric depth only.
        val: Validation set, metric depth only.
        sampler: Sampler of the training loader.
        train_loader: Augmented crops, in micro-batches.
        val_loader: Images at native size.
    """

    train: ShardSet
    val: ShardSet
    sampler: TrainSampler
    train_loader: "DataLoader[Any]"
    val_loader: "DataLoader[Any]"


def make_data(config: FinetuneConfig, split: BatchSplit, pin_memory: bool) -> DepthData:
    """Open both sets and build the loaders: augmented training crops, validation images at native size.

    Raises:
        DataError: A set cannot be read, or its depth is not in metres.
        UsageError: The subset is empty, or smaller than a batch.
    """
    train, val = (open_metric(url, config.where, cache_settings(config)) for url in (config.set, config.val or ""))
    crops, sampler = _make_crops(config, train, split.micro_batch)
    native = native_batch(val.index)

    def loading(batch_size: int) -> Loading:
        return Loading(batch_size=batch_size, num_workers=config.num_workers, pin_memory=pin_memory)

    return DepthData(
        train=train,
        val=val,
        sampler=sampler,
        train_loader=build_loader(crops, sampler, loading(split.micro_batch)),
        val_loader=build_loader(DiodeDepthDataset(val), EvalSampler(len(val), native), loading(native)),
    )


def _make_crops(config: FinetuneConfig, train: ShardSet, micro_batch: int) -> tuple[Dataset[Any], TrainSampler]:
    """Build the augmented training set, read by index or streamed as the options tell, and its sampler."""
    augment, streaming = PairedAugment(height=config.height, width=config.width), streaming_options(config)
    if streaming is None:
        tolerant = config.max_bad > 0
        crops = DiodeDepthDataset(train, augment=augment, seed=config.seed, shuffle=True, tolerant=tolerant)
        return crops, TrainSampler(len(train), config.batch_size, crops.prepare)
    from training.streaming.datasets import StreamedDepth  # imports webdataset, which reading by index does not need

    sampler = TrainSampler(len(train), config.batch_size)
    plan = partial(sampler.upcoming, micro_batch)
    return StreamedDepth(train, streaming, plan, augment=augment, seed=config.seed), sampler


def open_metric(url: str, where: str | None, cache: CacheSettings | None = None) -> ShardSet:
    """Open a set, or a subset of it, and check that all samples have depth in metres.

    Raises:
        DataError: Some have other depth; the message lists the kinds found.
    """
    samples = ShardSet(url, where, cache)
    check_metric(samples)
    return samples


def mean_log_depth(samples: ShardSet) -> float:
    """Average the natural log of the samples' median depths (metres), from the index alone.

    Raises:
        DataError: No sample has a valid pixel.
    """
    medians = samples.index["depth_median"].to_numpy(np.float64)
    medians = medians[np.isfinite(medians) & (medians > 0)]  # leaves out samples without a valid pixel
    if len(medians) == 0:
        raise DataError(f"{samples.url}: no sample has a valid pixel; look at it with `depthstream inspect`")
    return float(np.log(medians).mean())


def describe_set(samples: ShardSet) -> dict[str, Any]:
    """Describe a subset: identity and query, which decide whether it is the same, and name and size for the reader."""
    return {
        "name": samples.manifest.name,
        "identity": samples.manifest.identity,
        "where": samples.where,
        "samples": len(samples),
    }
