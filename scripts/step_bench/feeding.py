"""Training from a set against training from constant tensors that are on the device."""

import os
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import torch
from process_stat import read_tree

from step_bench.step import Step, StepSize
from step_bench.timing import synchronize
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.model.depth_unet import TensorBatch


def rate_of_constant(step: Step, batches: int) -> float:
    """Return the images a second of steps on the batch that is on the device, taken without a wait between them."""
    return _rate(step, repeat(step.batch, batches))


@dataclass(frozen=True, kw_only=True)
class Fed:
    """What steps on a set came to.

    Attributes:
        images_per_s: Of the steps.
        worker_ms: CPU milliseconds of the loader workers an image; 0 without workers. Linux only.
    """

    images_per_s: float
    worker_ms: float


def feed_set(step: Step, size: StepSize, source: Path | str, workers: int, batches: int) -> Fed:
    """Take steps on random crops of a set, and measure them without the first batches, which start workers."""
    dataset = DiodeDepthDataset(source, augment=PairedAugment(height=size.height, width=size.width), shuffle=True)
    warm = max(2, workers)
    # One long epoch: a loader would run dry at the end of each short one, whatever the number of its workers.
    places = [divmod(number, len(dataset)) for number in range((warm + batches) * size.batch)]
    loading = Loading(batch_size=size.batch, num_workers=workers, pin_memory=step.device.type == "cuda")
    loaded: Iterator[TensorBatch] = iter(build_loader(dataset, places, loading))  # type: ignore[arg-type]  # any iterable
    _rate(step, islice(loaded, warm))
    before = _children_s()
    rate = _rate(step, loaded)
    return Fed(images_per_s=rate, worker_ms=1000 * (_children_s() - before) / (batches * size.batch))


def _children_s() -> float:
    """Return the CPU seconds of all processes below this one."""
    tree = read_tree(os.getpid())
    tree.pop(os.getpid(), None)
    return sum(one.cpu_s for one in tree.values())


def compare_rates(step: Step, size: StepSize, source: Path, workers: int, repeats: int) -> dict[str, Any]:
    """Measure both rates in turn, and `feed_over_constant`, the ratio within a turn."""
    batches = max(4, 2 * workers)
    rate_of_constant(step, 2)  # warms up
    turns = []
    for _ in range(repeats):
        constant = rate_of_constant(step, batches)
        turns.append((feed_set(step, size, source, workers, batches).images_per_s, constant))
    ratios = [fed / constant for fed, constant in turns]
    return {
        "workers": workers,
        "repeats": repeats,
        "set_images_per_s": statistics.median(fed for fed, _ in turns),
        "constant_images_per_s": statistics.median(constant for _, constant in turns),
        "feed_over_constant": statistics.median(ratios),
        "feed_over_constant_min": min(ratios),
        "feed_over_constant_max": max(ratios),
    }


def _rate(step: Step, batches: Iterable[TensorBatch]) -> float:
    """Take a step on each batch; return the images a second."""
    synchronize(step.device)
    begin, images = time.perf_counter(), 0
    for batch in batches:
        step({name: _to(part, step.device) for name, part in batch.items()})
        images += len(batch["key"])
    synchronize(step.device)
    return images / (time.perf_counter() - begin)


def _to(part: Any, device: torch.device) -> Any:
    return part.to(device, non_blocking=True) if isinstance(part, torch.Tensor) else part
