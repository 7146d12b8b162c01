"""`depthstream pretrain`: an encoder from the images of shard sets, by LightlyTrain.

Every rank runs all of this (Lightning starts the command again for each further device), so only the options decide
what is done, and functions that write check whether this is rank 0.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from msgspec import Struct, to_builtins

from sharding.cli import Outcome
from sharding.errors import UsageError
from sharding.format.strict_json import Count, Text
from sharding.machine.files import write_atomically
from sharding.options import checked
from sharding.progress import is_rank_zero, say
from sharding.reading.shard_set import ShardSet
from training.checkpoint.cadence import Cadence
from training.checkpoint.counter import saved_state
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.newest import find_newest, say_resumed
from training.checkpoint.saved_run import read_saved_run
from training.checkpoint.stop import StopSignals
from training.claim import claimed, has_run
from training.config import PretrainConfig
from training.launch.devices import Placement, place
from training.launch.group import joined
from training.launch.launcher import check_precision
from training.launch.processes import ending_together
from training.lightly_options import PretrainPrecision
from training.lightlytrain.methods import check_images
from training.lightlytrain.models import TORCHVISION
from training.loading.images import IMAGE_PARTS
from training.loading.reading_cost import announce_reading
from training.loading.sampler import TrainSampler
from training.pretraining import lightly
from training.pretraining.call import make_arguments
from training.pretraining.check import PLAIN, check_pretrain, check_split, parse_weights
from training.pretraining.environment import environment_of_run
from training.pretraining.export import read_export
from training.pretraining.start import start_of_run
from training.pretraining.strategy import StreamStrategy
from training.run_files import read_json
from training.runfolder import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    ENCODER_NAME,
    LIGHTLY_NAME,
    SETS_NAME,
    load_config,
    save_config,
)
from training.set_options import cache_settings
from training.streaming.announce import announce_streaming
from training.streaming.options import Streaming, streaming_options


class _SetUsed(Struct):
    """An entry of `sets.json`."""

    name: Text
    identity: Text
    samples: Count


def run(config: PretrainConfig) -> Outcome:
    """Pretrain, and write `RUN/encoder.pt`: the state dict of the whole model, float32, by its package's names.

    RUN/checkpoints holds the last two checkpoints. LightlyTrain's own folder is `RUN/lightly` (TensorBoard events,
    `metrics.jsonl`). Its usage reports over the network are off, unless the environment says
    `LIGHTLY_TRAIN_EVENTS_DISABLED=0`.

    Raises:
        UsageError: The options ask for something impossible, or the run folder holds another run.
        DataError: A set cannot be read, training diverged, or all checkpoints are damaged.
        Interrupted: A signal asked to stop; the state is saved.
    """
    config = checked(config)
    check_pretrain(config)
    encoder = Path(config.out) / ENCODER_NAME
    if config.resume and encoder.is_file():
        return Outcome(data={"encoder": str(encoder), "trained": False}, text=f"{encoder} exists: nothing to do")
    sets = [ShardSet(url, config.where, cache_settings(config)) for url in config.sets]
    placement = place(config.accelerator, config.devices)
    check_precision(config.precision, placement.kind)
    config = replace(config, precision=choose_precision(config, placement.devices[0]))
    steps = count_steps(config, sets, placement.world)
    with joined(placement), claimed(config.out, config.resume) as folder:
        _begin(config, folder, sets)
        trained = _pretrain_in(folder, config, sets, placement, steps)
        if is_rank_zero():
            write_atomically(encoder, _read_encoder(folder, config))
    return _outcome(config, encoder, trained)


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What was trained.

    Attributes:
        epochs: As LightlyTrain resolved them.
        steps: Optimizer steps.
        seconds: What it took.
        bad_keys: Keys of damaged samples that were left out.
    """

    epochs: int
    steps: int
    seconds: float
    bad_keys: Sequence[str]


def _pretrain_in(
    folder: Path, config: PretrainConfig, sets: Sequence[ShardSet], placement: Placement, steps: int
) -> _Trained:
    """Train in the run folder, with as many `steps` an epoch."""
    weights, streaming = parse_weights(config.weights, len(sets)), streaming_options(config)
    length = f"{config.epochs} epochs, {config.precision}, {_all_steps(config, steps)}"
    say(f"pretrain: {format_sets(sets, weights)}, {length} -> {folder}")
    _announce_reading(config, sets, weights, streaming)
    checkpoint = find_newest(folder / CHECKPOINTS_NAME)
    begin = time.monotonic()
    remedy = f"give a smaller --batch-size than {config.batch_size}, or a smaller --image-size"
    with environment_of_run(folder, placement) as cache, StopSignals() as stop:
        stream = lightly.stream_arguments(
            sets,
            weights=weights,
            seed=config.seed,
            devices=config.devices,
            accelerator=config.accelerator,
            streaming=streaming,
            views=config.views,
            max_bad=config.max_bad,
        )
        strategy: StreamStrategy = stream["strategy"]
        strategy.loader_args = config.loader_args or {}
        strategy.preview = None if config.preview is None else Path(config.preview)
        start = start_of_run(None if checkpoint else config.checkpoint, cache)
        with ending_together(placement, strategy, remedy), start as begin_with:
            cadence = Cadence.parse(config.checkpoint_every)
            strategy.keeper = CheckpointKeeper(folder / CHECKPOINTS_NAME, cadence, strategy.counter, stop)
            strategy.resume_from = _announced(checkpoint)
            lightly.pretrain(**stream, **make_arguments(config, folder, checkpoint is not None, begin_with))
    seconds, keys = time.monotonic() - begin, strategy.budget.keys
    return _Trained(epochs=strategy.epochs, steps=strategy.steps, seconds=seconds, bad_keys=keys)


def _all_steps(config: PretrainConfig, steps: int) -> str:
    """Say how many steps there will be."""
    return f"{steps} steps each" if config.epochs == "auto" else f"{steps * config.epochs} steps"


def _read_encoder(folder: Path, config: PretrainConfig) -> bytes:
    """Return the content of `encoder.pt`, from what LightlyTrain has written below the run folder."""
    theirs = folder / LIGHTLY_NAME
    saved = None
    if not config.model.startswith(TORCHVISION):
        # Without an epoch LightlyTrain alone saves, at the end.
        saved = find_newest(folder / CHECKPOINTS_NAME) or find_newest(theirs / CHECKPOINTS_NAME)
    return read_export(theirs / "exported_models" / "exported_last.pt", config.model, config.model_args, saved)


def choose_precision(config: PretrainConfig, device: torch.device) -> PretrainPrecision:
    """Return the precision of a run: the option; for "auto" that of the run that is resumed, else what the device does.

    So `config.yaml` records what was computed, and a run that moves to another device keeps its precision.
    """
    if config.precision != "auto":
        return config.precision
    if config.resume and (Path(config.out) / CONFIG_NAME).is_file():
        kept: PretrainPrecision = load_config(config.out).get("precision", "auto")
        if kept != "auto":
            return kept
    return "bf16-mixed" if device.type == "cuda" and _computes_bf16(device) else "32-true"


def _computes_bf16(device: torch.device) -> bool:
    # From Ampere on; older GPUs emulate it, more slowly than float32.
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _announce_reading(
    config: PretrainConfig, sets: Sequence[ShardSet], weights: Sequence[float] | None, streaming: Streaming | None
) -> None:
    workers = None if config.num_workers == "auto" else config.num_workers
    if streaming:
        announce_streaming(sets, IMAGE_PARTS, workers, streaming)
        return
    shares = weights or [float(len(one)) for one in sets]
    for one, share in zip(sets, shares, strict=True):
        # An epoch has as many draws as there are samples, whatever the weights.
        draws = round(sum(map(len, sets)) * share / sum(shares))
        announce_reading(one, IMAGE_PARTS, workers, draws)


def _announced(checkpoint: Path | None) -> Path | None:
    """Report the checkpoint that the run resumes from, if there is one; return it."""
    if checkpoint is not None and is_rank_zero():
        say_resumed(checkpoint, saved_state(read_saved_run(checkpoint, expected=PLAIN)))
    return checkpoint


def count_steps(config: PretrainConfig, sets: Sequence[ShardSet], world: int) -> int:
    """Return the steps of an epoch.

    Raises:
        UsageError: The sets hold less than a batch, or the batch cannot be split evenly, or leaves a process too few
            images for the method.
    """
    check_split(config, world)
    check_images(config.method, config.batch_size // world // config.gradient_accumulation_steps)
    return TrainSampler(sum(map(len, sets)), config.batch_size).num_steps


def format_sets(sets: Sequence[ShardSet], weights: Sequence[float] | None) -> str:
    """Describe what an epoch reads, in a line: sets, samples and image bytes."""
    count = sum(map(len, sets))
    shares = weights or [float(len(one)) for one in sets]
    means = [one.rows["image_bytes"].mean() for one in sets]  # bytes of an image
    # Expected bytes of an epoch: its draws are split among the sets in proportion to the shares.
    size = count * sum(share * mean for share, mean in zip(shares, means, strict=True)) / sum(shares)
    return f"{', '.join(one.manifest.name for one in sets)}: {count} samples, {size / 1e6:.1f} MB of images an epoch"


def _begin(config: PretrainConfig, folder: Path, sets: Sequence[ShardSet]) -> None:
    """Save options and sets; if the run was begun before, check that they are the same."""
    if not is_rank_zero():
        return
    found = [_SetUsed(one.manifest.name, one.manifest.identity, len(one)) for one in sets]
    if has_run(folder) and (before := read_json(folder / SETS_NAME, list[_SetUsed])) != found:
        raise UsageError(
            f"--resume: the sets of {folder} were {to_builtins(before)}, found {to_builtins(found)}; give those"
        )
    write_atomically(folder / SETS_NAME, json.dumps(to_builtins(found), indent=1).encode())
    save_config(folder, config)


def _outcome(config: PretrainConfig, encoder: Path, trained: _Trained) -> Outcome:
    data = {
        "encoder": str(encoder),
        "trained": True,
        "model": config.model,
        "method": config.method,
        "augmentation": config.augmentation,
        "precision": config.precision,
        "epochs": trained.epochs,
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "bad_samples": len(trained.bad_keys),
        "bad_keys": list(trained.bad_keys),
    }
    without = f", without {len(trained.bad_keys)} damaged samples" if trained.bad_keys else ""
    text = f"{encoder}: {config.model} by {config.method}, {trained.steps} steps, {trained.seconds:.0f} s{without}"
    return Outcome(data=data, text=text)
