"""LightlyTrain's own loader: what was set for it is honoured in ours, or refused by name.

A DataLoader does not tell what was given to it from what are defaults. So `pin_memory` and `persistent_workers` that
are False cannot be told from no wish at all, unless `given` has them; and with several processes Lightning has
replaced a sampler that was not to shuffle by one that does, as it would for a folder of files.
"""

import os
from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, default_collate

from sharding.errors import DataError, UsageError
from sharding.progress import say
from training.lightlytrain.names import LOADER_ARGS
from training.loading.loader import Loading, StartMethod
from training.pretraining.views import Images, Transform

_TIMEOUT = "LIGHTLY_TRAIN_DATALOADER_TIMEOUT_SEC"
_PRELOAD = ("lightly_train", "training.pretraining.strategy")


def take_transform(dataloader: object, count: int) -> tuple["DataLoader[Any]", Transform]:
    """Return LightlyTrain's loader, checked, and the transform of its data set.

    Args:
        dataloader: What Lightning passes on.
        count: Samples of the sets.

    Raises:
        DataError: This is not the loader that LightlyTrain 0.18 makes.
        UsageError: It was made with `loader_args` that cannot be honoured.
    """
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
    _check_channels(dataset)
    _refuse_changes(dataloader)
    return dataloader, transform


def _check_channels(dataset: Any) -> None:
    """Refuse a run whose images would not be RGB: those of sets are decoded so.

    Raises:
        UsageError: `num_channels` is not 3, or LIGHTLY_TRAIN_IMAGE_MODE is not RGB.
    """
    if dataset.num_channels != 3:
        raise UsageError(
            f"num_channels is {dataset.num_channels}: images of sets are decoded to 3 channels, RGB; leave it out of "
            "transform_args"
        )
    if dataset.image_mode.value != "RGB":
        raise UsageError(
            f"LIGHTLY_TRAIN_IMAGE_MODE={dataset.image_mode.value}: images of sets are decoded as RGB; unset it"
        )


def _refuse_changes(theirs: "DataLoader[Any]") -> None:
    """Refuse what would change which samples a batch has, or what it is.

    Raises:
        UsageError: Something was set that would.
    """
    found = {
        "batch_sampler": theirs.batch_size is None,
        "drop_last": theirs.batch_size is not None and not theirs.drop_last,
        "shuffle or sampler": type(theirs.sampler) not in (RandomSampler, DistributedSampler),
        "collate_fn": theirs.collate_fn is not default_collate,
        "generator": theirs.generator is not None,
        "in_order": not theirs.in_order,
        "pin_memory_device": bool(theirs.pin_memory_device),
        "worker_init_fn": theirs.worker_init_fn is not None,
    }
    for name, changed in found.items():
        if changed:
            raise UsageError(f"loader_args: {name} cannot be set: {LOADER_ARGS[name.split()[-1]]}")


def _default_timeout_s() -> float:
    """Return the timeout that LightlyTrain sets on its own: it would cut off a read that is still retried."""
    text = os.environ.get(_TIMEOUT, "180")
    return float(text) if text.isdigit() else 0.0


def loading_like(theirs: "DataLoader[Any]", images: Images, given: Mapping[str, Any], *, page_locked: bool) -> Loading:
    """Return how ours loads: as LightlyTrain's loader does, with what suits the sets where nothing was set.

    Args:
        theirs: Its loader.
        images: What ours loads.
        given: The `loader_args` that the user gave, as far as they are known; they decide what `theirs` cannot tell.
        page_locked: Whether batches are page-locked by default, for transfers to a GPU that do not block the host.

    Raises:
        UsageError: Workers would be forked after a connection was opened.
    """
    if _TIMEOUT in os.environ and theirs.num_workers:
        say(
            f"{_TIMEOUT} is not used, since a read is retried for longer: give a timeout in loader_args if you want one"
        )
    context: Any = theirs.multiprocessing_context
    method: StartMethod = "auto" if context is None or theirs.num_workers == 0 else context.get_start_method()
    if method == "fork" and images.remote:
        raise UsageError(
            "loader_args: multiprocessing_context: a connection to a set behind a URL does not survive a fork; give "
            "forkserver"
        )
    return Loading(
        batch_size=int(theirs.batch_size or 1),  # micro-batch of this device
        num_workers=theirs.num_workers,
        pin_memory=theirs.pin_memory or given.get("pin_memory", page_locked),
        start_method=method,
        timeout_s=theirs.timeout if "timeout" in given or theirs.timeout != _default_timeout_s() else 0,
        prefetch_factor=theirs.prefetch_factor,
        persistent_workers=theirs.persistent_workers or given.get("persistent_workers", True),
        preload=_PRELOAD,
    )
