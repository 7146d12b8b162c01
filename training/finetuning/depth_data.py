"""The two sets of a fine-tuning run: opened, checked, and in loaders."""

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
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler, TrainSampler
from training.streaming.options import streaming_options


@dataclass(frozen=True, kw_only=True)
class DepthData:
    """The two sets and their loaders.

    Attributes:
        train: Training set, metric depth only.
        val: Validation set, metric depth only.
        sampler: Of the training loader.
        train_loader: Augmented crops, in micro-batches.
        val_loader: Unresized images.
    """

    train: ShardSet
    val: ShardSet
    sampler: TrainSampler
    train_loader: "DataLoader[Any]"
    val_loader: "DataLoader[Any]"


def make_data(config: FinetuneConfig, split: BatchSplit, pin_memory: bool) -> DepthData:
    """Open both sets and make the loaders: augmented training crops, unresized validation images.

    Raises:
        DataError: A set cannot be read, or its depth is not in metres.
        UsageError: The subset is empty, or smaller than a batch.
    """
    train, val = (open_metric(url, config.where, cache_settings(config)) for url in (config.set, config.val))
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
    """The augmented training set, read as the options say, and its sampler."""
    augment, streaming = PairedAugment(height=config.height, width=config.width), streaming_options(config)
    if streaming is None:
        crops = DiodeDepthDataset(train, augment=augment, seed=config.seed, shuffle=True)
        return crops, TrainSampler(len(train), config.batch_size, crops.prepare)
    from training.streaming.datasets import StreamedDepth  # needs webdataset

    sampler = TrainSampler(len(train), config.batch_size)
    plan = partial(sampler.upcoming, micro_batch)
    return StreamedDepth(train, streaming, plan, augment=augment, seed=config.seed), sampler


def open_metric(url: str, where: str | None, cache: CacheSettings | None = None) -> ShardSet:
    """Open a set, or subset, all of whose samples have depth in metres.

    Raises:
        DataError: Some have not; says which kinds there are.
    """
    samples = ShardSet(url, where, cache)
    kinds = samples.index["kind"].value_counts().to_dict()
    if set(kinds) != {"metric"}:
        found = ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
        raise DataError(
            f"{url}: fine-tuning needs depth in metres, found {found}; choose the subset that has it with "
            "--where \"kind == 'metric'\", or give another set"
        )
    return samples


def mean_log_depth(samples: ShardSet) -> float:
    """Mean over the samples of the natural log of their median depth (metres), from the index alone.

    Raises:
        DataError: No sample has a valid pixel.
    """
    medians = samples.index["depth_median"].to_numpy(np.float64)
    medians = medians[np.isfinite(medians) & (medians > 0)]
    if len(medians) == 0:
        raise DataError(f"{samples.url}: no sample has a valid pixel; look at it with `depthstream inspect`")
    return float(np.log(medians).mean())


def describe_set(samples: ShardSet) -> dict[str, Any]:
    """What makes a subset the same again: identity and query; and its name and size, for people."""
    return {
        "name": samples.manifest.name,
        "identity": samples.manifest.identity,
        "where": samples.where,
        "samples": len(samples),
    }
