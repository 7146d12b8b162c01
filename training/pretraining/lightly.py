"""LightlyTrain on shard sets: the only file that imports it.

`lightly_train.pretrain` takes file names. It gets one name a sample, which is never opened, and a Lightning strategy
that replaces its loader of files (`training.pretraining.strategy`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.checkpoint.budget import BadSampleBudget
from training.launch.devices import Devices, place
from training.loading.dataset import ImageDataset
from training.pretraining.saved_models import naming_another_model
from training.pretraining.strategy import make_strategy
from training.pretraining.views import Images
from training.streaming.options import Streaming, check_budget

Source = ShardSet | str | Path


def stream_arguments(
    sets: Source | Sequence[Source],
    *,
    where: str | None = None,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    devices: Devices = "auto",
    accelerator: str = "auto",
    streaming: Streaming | None = None,
    max_bad: int = 0,
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
        max_bad: Damaged samples that the run may meet: another one of the batch takes the place of each. More of them
            end it. Not with `streaming`.

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
    check_budget("indexed" if streaming is None else "webdataset", max_bad)
    placement, budget = place(accelerator, devices), BadSampleBudget(max_bad)
    return {
        # LightlyTrain computes its schedules from the number of names, and takes those with an image's extension.
        "data": [f"{key}.jpg" for one in opened for key in one.index["key"]],
        "strategy": make_strategy(_open_images(opened, weights, seed, streaming, budget), placement, budget),
    } | placement.trainer_arguments()


def _open_images(
    opened: Sequence[ShardSet],
    weights: Sequence[float] | None,
    seed: int,
    streaming: Streaming | None,
    budget: BadSampleBudget,
) -> Images:
    if streaming is None:
        return ImageDataset(opened, weights, seed=seed, tolerant=budget.tolerates)
    if weights is not None:
        raise UsageError("weights: streaming takes every sample once; leave them out, or read by the index")
    from training.streaming.datasets import StreamedImages  # needs webdataset

    return StreamedImages(opened, streaming, seed=seed)


def pretrain(**arguments: Any) -> None:
    """Call `lightly_train.pretrain`; the import takes ten seconds, so it is deferred until it is needed.

    Raises:
        DataError: The checkpoint to resume from holds another model.
    """
    import lightly_train

    with naming_another_model():
        lightly_train.pretrain(**arguments)
