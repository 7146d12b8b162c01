"""Training on shard sets, from the order of an epoch to a report of runs.

    loading       set -> batches in an exact order        streaming     whole shards instead of the index
    network       U-Net and encoder, as layers            model         log depth, trained and validated
    losses        what a run minimises                    metrics       what it is judged by
    depth_sets    what is trained on and validated on     checkpoint    save a run and resume it
    pretraining   an encoder, by LightlyTrain             finetuning    the depth network
    evaluation    a network on a set; export              baselines     predictors that see no image
    prediction    pictures of any kind and size           report        compare runs in one page
    profiling     what each stage of loading costs        launch        rank, devices, processes
    views         LightlyTrain's views, on the device     lightlytrain  its names, checked before the start
    lightning     its loggers and callbacks by name

`commands` and `config` are the command line and its options, `runfolder` the files of a run, `demo` all steps on
generated data.

The names of the tutorial are here (docs/from-the-tutorial.md), and `stream` (docs/webdataset.md); each is imported when
it is first asked for, so that the command line answers at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.finetuning.finetune import finetune_unet, init_model
    from training.loading.augment import PairedAugment
    from training.loading.dataset import DiodeDepthDataset
    from training.model.depth_unet import DepthUnet
    from training.monitoring.monitor import ThroughputMonitor
    from training.network.colour import change_colour
    from training.pretraining.augmentations import get_transform_args
    from training.pretraining.lightly import stream_arguments
    from training.streaming.pipeline import stream

__all__ = [
    "DepthUnet",
    "DiodeDepthDataset",
    "PairedAugment",
    "ThroughputMonitor",
    "change_colour",
    "finetune_unet",
    "get_transform_args",
    "init_model",
    "stream",
    "stream_arguments",
]

_HOMES = {
    "DepthUnet": "training.model.depth_unet",
    "DiodeDepthDataset": "training.loading.dataset",
    "PairedAugment": "training.loading.augment",
    "ThroughputMonitor": "training.monitoring.monitor",
    "change_colour": "training.network.colour",
    "finetune_unet": "training.finetuning.finetune",
    "get_transform_args": "training.pretraining.augmentations",
    "init_model": "training.finetuning.finetune",
    "stream": "training.streaming.pipeline",
    "stream_arguments": "training.pretraining.lightly",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
