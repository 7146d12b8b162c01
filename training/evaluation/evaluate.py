"""`depthstream evaluate`: metrics of a predictor on a set, at native resolution, per image and then averaged.

Anything with a method `predict_depth` can be evaluated. The ground truth is never resized. It runs in one process; the
validation of a run while it trains is in `training.model.depth_unet`, baselines are in `training.baselines`.
"""

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sharding.cli import Outcome
from sharding.errors import DataError
from sharding.progress import track
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from training.config import EvaluateConfig
from training.depth_options import ProtocolChoice, TrainedKind
from training.evaluation.evaluation_text import format_evaluation
from training.evaluation.native_size import native_batch, native_need
from training.evaluation.protocol_choice import choose_protocols
from training.evaluation.results import Evaluation, SetInfo, make_table
from training.evaluation.selection import count_trained, describe_selection
from training.launch.devices import describe_device, find_devices
from training.launch.out_of_memory import explaining_lack
from training.launch.worker_errors import naming_workers
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.reading_cost import announce_reading
from training.loading.sampler import EvalSampler
from training.loading.shared_need import check_shared_memory
from training.metrics.image_metrics import image_metrics
from training.metrics.protocols import Protocols
from training.model.depth_unet import DepthUnet
from training.model.inference import Predictor
from training.network.float32 import full_float32
from training.run_files import file_sha256
from training.runfolder import find_checkpoint, load_config
from training.set_options import cache_settings


@dataclass(frozen=True, kw_only=True)
class NamedPredictor:
    """A predictor to evaluate, with its name.

    Attributes:
        predictor: The network or baseline.
        name: Display name.
        fingerprint: Hash of its weights, by which a stored evaluation is recognised.
        depth_kind: What its depth means.
    """

    predictor: Predictor
    name: str
    fingerprint: str
    depth_kind: TrainedKind = "metric"


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

    @property
    def pin_memory(self) -> bool:
        """Whether batches are copied to page-locked memory."""
        return self.device.type == "cuda"


def evaluate_model(
    named: NamedPredictor, samples: ShardSet, computing: Computing | None = None, choice: ProtocolChoice = "ours"
) -> Evaluation:
    """Compute every metric under every protocol for every image, in float32 (without TF32).

    Args:
        named: The predictor.
        samples: Set, or subset.
        computing: Device and loader processes; by default the CPU, without loader processes.
        choice: Which protocols; depth up to scale has but one (`choose_protocols`).

    Raises:
        DataError: A prediction is not finite, no image has enough valid pixels, or the device has too little memory.
        UsageError: The set, or the predictor, cannot be judged by these protocols; or loader processes would have too
            little shared memory.
    """
    protocols = choose_protocols(samples, choice, named.depth_kind)
    computing = computing or Computing()
    check_shared_memory([native_need(samples, computing.num_workers, computing.pin_memory)])
    with full_float32(), naming_workers(), explaining_lack(f"evaluate {named.name}", "give --accelerator cpu"):
        rows = list(_iter_rows(named.predictor, samples, computing, protocols))
    evaluation = Evaluation(
        predictor=named.name,
        fingerprint=named.fingerprint,
        set=SetInfo.of(samples),
        device=describe_device(computing.device),
        table=make_table(rows, samples),
        choice=choice,
        protocols=protocols,
    )
    if evaluation.counted(evaluation.primary) == 0:
        raise DataError(
            f"none of the {len(samples)} images of {samples.url} has enough valid depth to be evaluated; "
            "look at them with `depthstream inspect`"
        )
    return evaluation


def _iter_rows(
    predictor: Predictor, samples: ShardSet, computing: Computing, protocols: Protocols
) -> Iterator[tuple[Any, ...]]:
    """Yield (protocol, key, *METRICS) of each counted image, image by image in set order."""
    batch_size = native_batch(samples.rows)
    loading = Loading(batch_size=batch_size, num_workers=computing.num_workers, pin_memory=computing.pin_memory)
    under_mask = not all(protocol.masked for protocol in protocols.values())
    images = DiodeDepthDataset(samples, under_mask=under_mask)
    loader = build_loader(images, EvalSampler(len(samples), batch_size), loading)
    for batch in track(loader, total=len(loader), unit="batches", label="evaluate"):
        with torch.inference_mode():
            prediction = predictor.predict_depth(batch["image"].to(computing.device))
        yield from _measure(prediction, batch, protocols)


def _measure(prediction: Tensor, batch: dict[str, Any], protocols: Protocols) -> Iterator[tuple[Any, ...]]:
    depth, valid = batch["depth"].to(prediction.device), batch["valid"].to(prediction.device)
    for name, protocol in protocols.items():
        try:
            values, counted = image_metrics(prediction, depth, valid, protocol)
        except DataError as error:  # it numbers the images of the batch: add their keys
            raise DataError(f"samples {', '.join(batch['key'])}: {error}") from error
        chosen = counted.cpu() & (batch["weight"] > 0)  # weight 0: padding
        for key, row, take in zip(batch["key"], values.cpu().numpy().astype(np.float64), chosen.tolist(), strict=True):
            if take:
                yield name, key, *row.tolist()


def load_predictor(file: Path, name: str, device: torch.device) -> NamedPredictor:
    """Load the network of a checkpoint for evaluation, in eval mode on `device`.

    Raises:
        DataError: The file is not a checkpoint of `depthstream finetune`.
    """
    model = DepthUnet.load(file).to(device).eval()
    return NamedPredictor(
        predictor=model, name=name, fingerprint=file_sha256(file), depth_kind=model.options.depth_kind
    )


def evaluation_file(run: Path, samples: ShardSet, which: str, choice: ProtocolChoice = "ours") -> Path:
    """Return the path at which an evaluation on a set, or a subset of it, is stored.

    Args:
        run: The run folder.
        samples: The set.
        which: What was evaluated: "last", "best", or the name of a baseline.
        choice: Which protocols.
    """
    # A hash, because a query may contain characters that a file name cannot.
    subset = "" if samples.where is None else "-" + hashlib.sha256(samples.where.encode()).hexdigest()[:8]
    protocol = "" if choice == "ours" else f"-{choice}"
    return run / f"evaluation-{samples.manifest.name}{subset}-{which}{protocol}.json"


READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Why the folder of somebody else's run cannot be written to, which is no failure of `evaluate`."""


def run(config: EvaluateConfig) -> Outcome:
    """Evaluate a run's checkpoint on a set, and store the result in the run folder."""
    folder, which = Path(config.run), config.checkpoint
    load_config(folder)  # raises DataError if it is not a run folder
    file = find_checkpoint(folder, which)
    samples = ShardSet(config.set, config.where, cache_settings(config))
    choose_protocols(samples, config.protocol)  # before the network is loaded
    computing = Computing.choose(config.accelerator, config.num_workers)
    announce_reading(samples, DEPTH_PARTS, config.num_workers)
    named = load_predictor(file, f"{folder.name}, {which} checkpoint", computing.device)
    evaluation = evaluate_model(named, samples, computing, config.protocol)
    kept = evaluation_file(folder, samples, which, config.protocol)
    failure = evaluation.save(kept)
    selection = describe_selection(folder, samples) if which == "best" else None
    trained = count_trained(folder, samples)
    seen = f"{trained} of these {len(samples)} images were trained on, so the numbers tell what the network remembers"
    text = format_evaluation(evaluation, [*([selection] if selection else []), *([seen] if trained else [])])
    about = {"checkpoint": which, "selection": selection, "trained_on": trained}
    return Outcome(
        data=evaluation.summary() | about | {"file": None if failure else str(kept)},
        text=text + ("" if failure else f"\n\nstored in {kept}"),
        ok=failure is None or failure.errno in READ_ONLY,
    )
