"""The metrics of baselines on a set: of each metric, those of the predictor fitted for it. No image is read."""

from collections.abc import Iterator
from typing import Any

import torch

from sharding.format.sample import Sample
from sharding.progress import track
from sharding.reading.shard_set import ShardSet
from training.baselines.depth_sums import iter_depths
from training.baselines.fitted import Baselines, Fitted
from training.evaluation.results import Evaluation, SetInfo, make_table
from training.launch.devices import describe_device
from training.metrics.image_metrics import ComparedTruth
from training.metrics.kinds import require_metres
from training.metrics.protocols import METRICS, PROTOCOLS

CPU = torch.device("cpu")


def evaluate_baselines(baselines: Baselines, samples: ShardSet, device: torch.device = CPU) -> dict[str, Evaluation]:
    """Measure both baselines on a set, in one pass over its depth maps, under each protocol of `ours`.

    Args:
        baselines: The fitted baselines.
        samples: Set, or subset, whose depth is metric.
        device: Device to compute on.

    Returns:
        By name, "constant" and "row": an evaluation of that name, its fingerprint that of the baselines.

    Raises:
        UsageError: The depth of the set is not in metres.
    """
    require_metres(samples)
    by_name = baselines.by_name
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in by_name}
    for sample in track(iter_depths(samples), total=len(samples), unit="images", label="baselines"):
        for truth in _truths(sample, device):
            for name, fitted in by_name.items():
                rows[name].append((truth.protocol.name, sample.key, *_measure(fitted, truth)))
    return {
        name: Evaluation(
            predictor=name,
            fingerprint=baselines.fingerprint,
            set=SetInfo.of(samples),
            device=describe_device(device),
            table=make_table(found, samples),
        )
        for name, found in rows.items()
    }


def _truths(sample: Sample, device: torch.device) -> Iterator[ComparedTruth]:
    """Yield what each protocol compares of a sample, unless it is not counted."""
    if sample.depth is None or sample.valid is None:
        return
    depth, valid = (torch.from_numpy(part.copy()).to(device)[None, None] for part in (sample.depth, sample.valid))
    for protocol in PROTOCOLS.values():
        truth = ComparedTruth.of(depth, valid, protocol)
        if truth.counted.all():
            yield truth


def _measure(fitted: Fitted, truth: ComparedTruth) -> list[float]:
    """Return the metrics of one image, each of its own predictor."""
    return [float(truth.metrics(fitted[metric].predict_depth(truth.depth), [metric])[0, 0].cpu()) for metric in METRICS]
