"""`depthstream evaluate`: metrics of a predictor on a set, at native resolution, per image and then averaged.

Anything with a method `predict_depth` can be evaluated: a network or a baseline. The ground truth is never resized. It
runs in one process; the validation of a run while it trains is in `training.model.depth_unet`.
"""

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sharding.cli import Outcome
from sharding.errors import DataError, UsageError
from sharding.progress import track
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from training.config import EvaluateConfig, cache_settings
from training.evaluation.metric_names import METRIC_NAMES, PROTOCOL, PROTOCOL_NAMES, count, fixed
from training.evaluation.results import Evaluation, SetInfo
from training.launch.devices import describe_device, find_devices
from training.launch.out_of_memory import explaining_lack
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.reading_cost import announce_reading
from training.loading.sampler import EvalSampler
from training.model.depth_unet import DepthUnet
from training.model.float32 import full_float32
from training.model.inference import Predictor
from training.model.metrics import METRICS, PROTOCOLS, image_metrics
from training.runfolder import find_checkpoint, load_config

BATCH_PIXELS = 1024 * 768
"""Pixels that are predicted at once: one DIODE view."""


@dataclass(frozen=True, kw_only=True)
class NamedPredictor:
    """A predictor to evaluate, with its name.

    Attributes:
        predictor: The network or baseline.
        name: Display name.
        fingerprint: Hash of its weights, by which a stored evaluation is recognised.
    """

    predictor: Predictor
    name: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Computing:
    """Device and processes to compute with.

    Attributes:
        device: Device that images are moved to; the predictor must be on it already.
        num_workers: Number of loader processes.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    num_workers: int = 0

    @classmethod
    def choose(cls, accelerator: str, num_workers: int) -> "Computing":
        """Choose the first device of an accelerator.

        Raises:
            UsageError: The accelerator is not available.
        """
        return cls(device=find_devices(accelerator, 1)[0], num_workers=num_workers)


def evaluate_model(named: NamedPredictor, samples: ShardSet, computing: Computing | None = None) -> Evaluation:
    """Compute every metric under every protocol for every image, in float32 (without TF32).

    Args:
        named: The predictor.
        samples: Set, or subset, whose depth is metric.
        computing: Device and loader processes; by default the CPU, without loader processes.

    Raises:
        DataError: A prediction is not finite, no image has enough valid pixels, or the device has too little memory.
        UsageError: The depth of the set is not in metres.
    """
    _check_metric(samples)
    computing = computing or Computing()
    with full_float32(), explaining_lack(f"evaluate {named.name}", "give --accelerator cpu"):
        rows = list(_iter_rows(named.predictor, samples, computing))
    table = pd.DataFrame(rows, columns=["protocol", "key", *METRICS])
    table.insert(2, "scene", table["key"].map(dict(zip(samples.index["key"], samples.index["scene"], strict=True))))
    evaluation = Evaluation(
        predictor=named.name,
        fingerprint=named.fingerprint,
        set=SetInfo.of(samples),
        device=describe_device(computing.device),
        table=table,
    )
    if evaluation.counted(PROTOCOL) == 0:
        raise DataError(
            f"none of the {len(samples)} images of {samples.url} has enough valid depth to be evaluated; "
            "look at them with `depthstream inspect`"
        )
    return evaluation


def _check_metric(samples: ShardSet) -> None:
    # Kind "none" is a view without any measured depth: it is skipped, and counted as skipped.
    kinds = sorted(set(samples.index["kind"]) - {"metric", "none"})
    if kinds:
        raise UsageError(
            f"metrics are in metres, but {samples.url} has depth of kind {', '.join(kinds)}; "
            "choose a subset with --where \"kind == 'metric'\""
        )


def _iter_rows(predictor: Predictor, samples: ShardSet, computing: Computing) -> Iterator[tuple[Any, ...]]:
    """Yield (protocol, key, *METRICS) of each counted image, image by image in set order."""
    batch_size = native_batch(samples.index)
    loading = Loading(
        batch_size=batch_size, num_workers=computing.num_workers, pin_memory=computing.device.type == "cuda"
    )
    loader = build_loader(DiodeDepthDataset(samples), EvalSampler(len(samples), batch_size), loading)
    for batch in track(loader, total=len(loader), unit="batches", label="evaluate"):
        with torch.inference_mode():
            prediction = predictor.predict_depth(batch["image"].to(computing.device))
        yield from _measure(prediction, batch)


def _measure(prediction: Tensor, batch: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    depth, valid = batch["depth"].to(prediction.device), batch["valid"].to(prediction.device)
    for name, protocol in PROTOCOLS.items():
        try:
            values, counted = image_metrics(prediction, depth, valid, protocol)
        except DataError as error:  # it numbers the images of the batch: add their keys
            raise DataError(f"samples {', '.join(batch['key'])}: {error}") from error
        chosen = counted.cpu() & (batch["weight"] > 0)  # weight 0: padding
        for key, row, take in zip(batch["key"], values.cpu().numpy().astype(np.float64), chosen.tolist(), strict=True):
            if take:
                yield name, key, *row.tolist()


def native_batch(index: pd.DataFrame) -> int:
    """Choose a batch size for images at native size: 1 if they differ in size, otherwise what fits `BATCH_PIXELS`."""
    sizes = index[["height", "width"]].drop_duplicates()
    return max(1, BATCH_PIXELS // int(sizes.prod(axis=1).iloc[0])) if len(sizes) == 1 else 1


def file_sha256(file: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load_predictor(file: Path, name: str, device: torch.device) -> NamedPredictor:
    """Load the network of a checkpoint for evaluation, in eval mode on `device`.

    Raises:
        DataError: The file is not a checkpoint of `depthstream finetune`.
    """
    model = DepthUnet.load(file).to(device).eval()
    return NamedPredictor(predictor=model, name=name, fingerprint=file_sha256(file))


def evaluation_file(run: Path, samples: ShardSet, which: str) -> Path:
    """Return the path at which the evaluation of a run's checkpoint on a set, or a subset of it, is stored."""
    # A hash, because a query may contain characters that a file name cannot.
    subset = "" if samples.where is None else "-" + hashlib.sha256(samples.where.encode()).hexdigest()[:8]
    return run / f"evaluation-{samples.manifest.name}{subset}-{which}.json"


READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Why the folder of somebody else's run cannot be written to, which is no failure of `evaluate`."""


def run(config: EvaluateConfig) -> Outcome:
    """Evaluate a run's checkpoint on a set, and store the result in the run folder."""
    folder = Path(config.run)
    load_config(folder)  # raises DataError if it is not a run folder
    file = find_checkpoint(folder, config.checkpoint)
    samples = ShardSet(config.set, config.where, cache_settings(config))
    computing = Computing.choose(config.accelerator, config.num_workers)
    announce_reading(samples, DEPTH_PARTS, config.num_workers)
    named = load_predictor(file, f"{folder.name}, {config.checkpoint} checkpoint", computing.device)
    evaluation = evaluate_model(named, samples, computing)
    kept = evaluation_file(folder, samples, config.checkpoint)
    failure = evaluation.save(kept)
    return Outcome(
        data=evaluation.summary() | {"file": None if failure else str(kept)},
        text=format_evaluation(evaluation) + ("" if failure else f"\n\nstored in {kept}"),
        ok=failure is None or failure.errno in READ_ONLY,
    )


def format_evaluation(evaluation: Evaluation) -> str:
    """Format the metrics as plain text tables: a line for each protocol, then a line for each scene."""
    shown = ["abs_rel", "rmse", "log10", "silog", "delta1", "delta2", "delta3"]
    lines = [
        f"{evaluation.predictor} on {evaluation.set.describe()}",
        "",
        _line("", [METRIC_NAMES[name].label for name in shown]),
    ]
    for protocol in PROTOCOLS:
        if means := evaluation.mean(protocol):
            lines.append(_line(PROTOCOL_NAMES[protocol].label, [fixed(means[name]) for name in shown]))
    lines += ["", _line("scene (headline)", [METRIC_NAMES[name].label for name in shown])]
    for scene, row in evaluation.scenes(PROTOCOL).items():
        lines.append(_line(scene, [fixed(row[name]) for name in shown]))
    skipped = evaluation.set.images - evaluation.counted(PROTOCOL)
    return "\n".join([*lines, "", f"{count(skipped, 'image')} skipped for too few valid pixels"])


def _line(name: str, cells: list[str]) -> str:
    return f"{name:<20}" + "".join(f"{cell:>10}" for cell in cells)
