"""LightlyTrain on shard sets: the only file that imports it.

`lightly_train.pretrain` takes file names. It gets one name a sample, which is never opened, and a Lightning strategy
that replaces its loader of files (`training.pretraining.strategy`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException

from sharding.errors import UsageError
from sharding.escaping import escape, shorten
from sharding.reading.shard_set import ShardSet
from training.checkpoint.budget import BadSampleBudget
from training.config import ViewsOn
from training.launch.devices import Devices, place
from training.launch.out_of_memory import describe_lack
from training.loading.images import ImageDataset
from training.pretraining.environment import pillow_unchanged, switch_reports_off
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
    seed: int | None = None,
    devices: Devices = "auto",
    accelerator: str = "auto",
    streaming: Streaming | None = None,
    views: ViewsOn = "cpu",
    max_bad: int = 0,
) -> dict[str, Any]:
    """Return arguments that make `lightly_train.pretrain` read shard sets; only their image bytes are fetched.

    Devices are given here, since the strategy depends on them; `lightly_train.pretrain` takes all other arguments.
    From this call on, LightlyTrain reports no usage over the network in this process and its children, unless the
    environment has LIGHTLY_TRAIN_EVENTS_DISABLED=0.

    Args:
        sets: One set or several: folders, URLs, or open sets.
        where: A condition on the index of each set that is given by folder or URL.
        weights: How often each set is drawn from, relative to the others; None: by size.
        seed: Seed of order, views and what the model draws in a step; None: the `seed` that LightlyTrain is given,
            which is that of the initial weights, too.
        devices: How many, or which, or "auto".
        accelerator: "auto", "gpu" or "cpu".
        streaming: How to stream whole shards by webdataset; None reads by the index. Takes no weights.
        views: Where views are made: "cpu" by the loader's workers, with LightlyTrain's own transform; "gpu" on the
            training device, from fewer decoded pixels. Their draws differ, but not the distributions.
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
    images = _open_images(opened, weights, seed or 0, streaming, budget)
    switch_reports_off()
    return {
        # LightlyTrain computes its schedules from the number of names, and takes those with an image's extension.
        "data": [f"{key}.jpg" for one in opened for key in one.rows["key"]],
        "strategy": make_strategy(images, placement, budget, follows_seed=seed is None, views=views),
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

    Pillow's global setting is afterwards as before.

    Raises:
        UsageError: LightlyTrain refuses the arguments.
        DataError: The checkpoint to resume from or to begin with, or the file of a teacher's weights, holds another
            model.
    """
    with pillow_unchanged():
        import lightly_train

    teacher = (arguments.get("method_args") or {}).get("teacher_weights")
    begun = arguments.get("resume_interrupted") or arguments.get("checkpoint")
    resumed = ["the checkpoint"] if begun or teacher is None else []
    files = " or ".join([*([] if teacher is None else [str(teacher)]), *resumed])
    with _naming_wrong_arguments(arguments.get("strategy")), naming_another_model(files):
        lightly_train.pretrain(**arguments)


_NOT_WATCHED = "Early stopping conditioned on metric"  # Lightning tells at the first epoch's end


@contextmanager
def _naming_wrong_arguments(strategy: Any) -> Iterator[None]:
    """Turn what LightlyTrain and Lightning raise about arguments into a line.

    They have checked types and values once the loader is made, which `strategy` is told of; an error from later on is a
    fault of something else, but for what early stopping is to watch. They have checked models and packages then, too.
    """
    from lightly_train.errors import LightlyTrainError

    try:
        yield
    except UsageError:
        raise
    except (LightlyTrainError, MisconfigurationException) as error:
        raise _refused(error) from error
    except (ValueError, TypeError, RuntimeError) as error:
        began = getattr(strategy, "has_loader", True)
        if str(error).startswith(_NOT_WATCHED) or not (began or describe_lack(error)):
            raise _refused(error) from error
        raise


def _refused(error: Exception) -> UsageError:
    return UsageError(f"LightlyTrain refuses the options: {shorten(escape(' '.join(str(error).split())), 1000)}")
