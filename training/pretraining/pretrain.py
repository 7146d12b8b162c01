"""`depthstream pretrain`: an encoder from the images of shard sets, by LightlyTrain.

Every rank runs all of this (Lightning starts the command again for each further device), so only the options decide
what is done, and functions that write check whether this is rank 0.
"""

import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from msgspec import Struct, to_builtins

from sharding.cli import Outcome
from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Count, Text
from sharding.limits import MAX_ENCODER_BYTES
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
from training.config import PretrainConfig, PretrainPrecision, cache_settings
from training.launch.devices import Placement, place
from training.launch.group import joined
from training.launch.launcher import check_precision
from training.launch.processes import ending_together
from training.loading.dataset import IMAGE_PARTS
from training.loading.reading_cost import announce_reading
from training.loading.sampler import TrainSampler
from training.model.saved import check_shapes, load_saved
from training.pretraining import lightly
from training.pretraining.augmentations import get_transform_args
from training.pretraining.check import check_pretrain, parse_weights
from training.pretraining.environment import environment_of_run
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
from training.streaming.announce import announce_streaming
from training.streaming.options import Streaming, streaming_options

_LIBRARY = "torchvision/"
_PLAIN = (
    "a checkpoint of `depthstream pretrain` with plain values alone (earlier versions wrote whole modules, which "
    "only running code from the file could read: finish such a run with that version, or begin another with another "
    "--out)"
)


class _SetUsed(Struct):
    """An entry of `sets.json`."""

    name: Text
    identity: Text
    samples: Count


def run(config: PretrainConfig) -> Outcome:
    """Pretrain, and write `RUN/encoder.pt`: a torchvision state dict of the whole model.

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
    steps = count_steps(config, sets, placement.world) * config.epochs
    with joined(placement), claimed(config.out, config.resume) as folder:
        _begin(config, folder, sets)
        seconds, bad_keys = _pretrain_in(folder, config, sets, placement, steps)
        if is_rank_zero():
            export = folder / LIGHTLY_NAME / "exported_models" / "exported_last.pt"
            write_atomically(encoder, read_export(export, config.model))
    return _outcome(config, encoder, steps, seconds, bad_keys)


def _pretrain_in(
    folder: Path, config: PretrainConfig, sets: Sequence[ShardSet], placement: Placement, steps: int
) -> tuple[float, list[str]]:
    """Train in the run folder; return the seconds it took, and the keys of damaged samples."""
    weights, streaming = parse_weights(config.weights, len(sets)), streaming_options(config)
    say(
        f"pretrain: {format_sets(sets, weights)}, {config.epochs} epochs, {config.precision}, {steps} steps -> {folder}"
    )
    _announce_reading(config, sets, weights, streaming)
    checkpoint = find_newest(folder / CHECKPOINTS_NAME)
    begin = time.monotonic()
    stream = lightly.stream_arguments(
        sets,
        weights=weights,
        seed=config.seed,
        devices=config.devices,
        accelerator=config.accelerator,
        streaming=streaming,
        max_bad=config.max_bad,
    )
    strategy: StreamStrategy = stream["strategy"]
    remedy = f"give a smaller --batch-size than {config.batch_size}, or a smaller --image-size"
    with environment_of_run(folder, placement), StopSignals() as stop, ending_together(placement, strategy, remedy):
        cadence = Cadence.parse(config.checkpoint_every)
        strategy.keeper = CheckpointKeeper(folder / CHECKPOINTS_NAME, cadence, strategy.counter, stop)
        strategy.resume_from = _announced(checkpoint)
        lightly.pretrain(**stream, **make_arguments(config, folder, interrupted=checkpoint is not None))
    return time.monotonic() - begin, strategy.budget.keys


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
    if streaming:
        announce_streaming(sets, IMAGE_PARTS, config.num_workers, streaming)
        return
    shares = weights or [float(len(one)) for one in sets]
    for one, share in zip(sets, shares, strict=True):
        # An epoch has as many draws as there are samples, whatever the weights.
        draws = round(sum(map(len, sets)) * share / sum(shares))
        announce_reading(one, IMAGE_PARTS, config.num_workers, draws)


def make_arguments(config: PretrainConfig, folder: Path, interrupted: bool) -> dict[str, Any]:
    """Return the arguments of `lightly_train.pretrain` other than the stream, for a new or interrupted run."""
    return {
        "out": folder / LIGHTLY_NAME,
        "model": config.model,
        "method": config.method,
        "transform_args": make_transform_args(config),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "num_workers": config.num_workers,
        "seed": config.seed,
        "precision": config.precision,
        # This callback adds LightlyTrain's models to every checkpoint and finds them again; `CheckpointKeeper` writes.
        "callbacks": {
            "model_checkpoint": {"dirpath": str(folder / CHECKPOINTS_NAME), "save_last": False, "save_top_k": 0}
        },
        "trainer_args": {"deterministic": config.deterministic},
        "resume_interrupted": interrupted,
        "overwrite": not interrupted,  # what a start has left that reached no checkpoint
    }


def _announced(checkpoint: Path | None) -> Path | None:
    """Report the checkpoint that the run resumes from, if there is one; return it."""
    if checkpoint is not None and is_rank_zero():
        say_resumed(checkpoint, saved_state(read_saved_run(checkpoint, expected=_PLAIN)))
    return checkpoint


def make_transform_args(config: PretrainConfig) -> dict[str, Any]:
    """Return the augmentation at the image size; DINO's local views keep their share of it (96 of 224 pixels)."""
    args = get_transform_args(config.augmentation) | {"image_size": (config.image_size, config.image_size)}
    if config.method == "dino":
        local = max(1, round(config.image_size * 96 / 224))
        args["local_view"] = {"view_size": (local, local)}
    return args


def count_steps(config: PretrainConfig, sets: Sequence[ShardSet], world: int) -> int:
    """Return the steps of an epoch.

    Raises:
        UsageError: The sets hold less than a batch, or the batch is no multiple of the number of processes.
    """
    if config.batch_size % world:
        raise UsageError(f"--batch-size {config.batch_size} is that of all {world} processes: give a multiple of it")
    return TrainSampler(sum(map(len, sets)), config.batch_size).num_steps


def format_sets(sets: Sequence[ShardSet], weights: Sequence[float] | None) -> str:
    """Describe what an epoch reads, in a line: sets, samples and image bytes."""
    count = sum(map(len, sets))
    shares = weights or [float(len(one)) for one in sets]
    means = [one.index["image_bytes"].mean() for one in sets]  # bytes of an image
    # Expected bytes of an epoch: its draws are split among the sets in proportion to the shares.
    size = count * sum(share * mean for share, mean in zip(shares, means, strict=True)) / sum(shares)
    return f"{', '.join(one.manifest.name for one in sets)}: {count} samples, {size / 1e6:.1f} MB of images an epoch"


def read_export(path: Path, model: str) -> bytes:
    """Check that LightlyTrain's export is a finite state dict of `model`; return it as the bytes of such a file.

    Raises:
        DataError: It is the state dict of another model, or a tensor is not finite.
    """
    state: Mapping[str, torch.Tensor] = load_saved(path, f"the state dict of torchvision's {model}", MAX_ENCODER_BYTES)
    wanted = torchvision.models.get_model(model.removeprefix(_LIBRARY), weights=None)
    check_shapes(state, wanted.state_dict(), f"{path}, which should be torchvision's {model}")
    if bad := [name for name, value in state.items() if not torch.isfinite(value).all()]:
        raise DataError(
            f"{path}: {len(bad)} tensors are not finite, the first is {bad[0]}: training diverged; "
            "give a larger --batch-size or another --seed"
        )
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


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


def _outcome(config: PretrainConfig, encoder: Path, steps: int, seconds: float, bad_keys: Sequence[str]) -> Outcome:
    data = {
        "encoder": str(encoder),
        "trained": True,
        "model": config.model,
        "method": config.method,
        "augmentation": config.augmentation,
        "precision": config.precision,
        "epochs": config.epochs,
        "steps": steps,
        "seconds": round(seconds, 1),
        "bad_samples": len(bad_keys),
        "bad_keys": list(bad_keys),
    }
    without = f", without {len(bad_keys)} damaged samples" if bad_keys else ""
    text = f"{encoder}: {config.model} by {config.method}, {steps} steps, {seconds:.0f} s{without}"
    return Outcome(data=data, text=text)
