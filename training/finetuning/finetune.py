"""`depthstream finetune`: train a depth U-Net on a set with metric depth.

Every rank runs this whole module (Lightning starts the command again for each further device). So all decisions follow
from the options and the run folder alone, and only rank 0 writes files.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from sharding.cli import Outcome
from sharding.format.strict_json import to_type
from sharding.options import checked
from sharding.progress import is_rank_zero, say
from sharding.reading.shard_set import DEPTH_PARTS
from training.checkpoint.budget import BadSampleBudget
from training.checkpoint.cadence import Cadence
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.stop import StopSignals
from training.checkpoint.writer import AtomicCheckpointIO
from training.claim import claimed
from training.config import FinetuneConfig
from training.finetuning.batches import AUTO, BatchSplit, StepMemory, split_batch
from training.finetuning.best import BestWeights
from training.finetuning.camera import training_camera
from training.finetuning.check import check_finetune
from training.finetuning.depth_data import DepthData, describe_set, make_data, mean_log_depth
from training.finetuning.panels import DepthPanels
from training.finetuning.record import RunRecord, Summary
from training.finetuning.resume import find_resume
from training.launch.devices import Placement, place
from training.launch.group import DepthDDP, SameOnAllRanks, joined
from training.launch.launcher import check_precision
from training.launch.memory import least_free_memory
from training.launch.processes import ending_together
from training.loading.reading_cost import announce_reading
from training.model.depth_unet import DepthUnet
from training.model.encoder import load_encoder
from training.model.hyperparameters import Hyperparameters
from training.model.unet import build_unet, count_parameters
from training.profiling.monitor import ThroughputMonitor
from training.profiling.train_progress import TrainProgress
from training.run_files import read_json
from training.runfolder import METRICS_NAME, SCRATCH, checkpoint_path, is_finished, save_config
from training.streaming.announce import announce_streaming
from training.streaming.options import streaming_options

WARMUP_SHARE, MAX_WARMUP_STEPS = 0.05, 1000  # warm-up: this share of all steps, at most this many
GRADIENT_CLIP = 1.0  # largest norm of all gradients together

# Warnings of Lightning that do not apply here, as regular expressions.
_NOT_OURS = (
    ".*does not have many workers.*",  # the user chose how many
    ".*isinstance.treespec, LeafSpec.*",  # Lightning 2.6 with a newer torch
    ".*recommended to use .self.log.'(val|train)_.*sync_dist=True.*",  # the values are reduced over the ranks already
)


def run(config: FinetuneConfig) -> Outcome:
    """Fine-tune from the encoder that `config` names; see `train`."""
    return train(config, lambda: init_model(config.encoder, config.encoder_name, config.seed))


def init_model(encoder: str | Path = SCRATCH, encoder_name: str = "resnet50", seed: int = 0) -> nn.Module:
    """Build the network: an encoder and its decoder.

    Args:
        encoder: Run folder of `pretrain`, a state dict file with torchvision's names, or "none" for random weights.
        encoder_name: Name of the ResNet, by torchvision.
        seed: Seed of all random weights; the decoder's weights do not depend on the encoder's.

    Returns:
        A network from float32 (B, 3, H, W), normalised, to (B, 1, H, W), in training mode. `DepthUnet` converts its
        output to metres.

    Raises:
        DataError: The file does not fill the whole encoder.
        UsageError: The ResNet is unknown.
    """
    return build_unet(load_encoder(encoder, encoder_name, seed), seed)


def finetune_unet(
    unet: nn.Module, train_set: str | Path, val_set: str | Path, out: str | Path, **options: Any
) -> DepthUnet:
    """Train a network of `init_model` as `depthstream finetune` does, and return it with the weights of its best epoch.

    Args:
        unet: The network; it is trained in place.
        train_set: Shard set to train on.
        val_set: Shard set to validate on.
        out: Run folder, new or empty.
        **options: Fields of `FinetuneConfig`, such as batch_size, learning_rate, epochs; `encoder_name` must be that
            of the network.

    Example:
        >>> unet = init_model("runs/conservative")                                              # doctest: +SKIP
        >>> model = finetune_unet(unet, "sets/train", "sets/val", "runs/depth", batch_size=32)  # doctest: +SKIP
    """
    config = FinetuneConfig(set=str(train_set), val=str(val_set), out=str(out), **options)
    train(config, lambda: unet)
    return DepthUnet.load(out)


def train(config: FinetuneConfig, make_unet: Callable[[], nn.Module]) -> Outcome:
    """Train the network that `make_unet()` returns; `training.finetuning.record` documents the files of the run folder.

    Raises:
        UsageError: An option has an impossible value, or the run folder contains another run.
        DataError: A set or the encoder is invalid, or training diverged.
    """
    config = checked(config)
    check_finetune(config)
    if config.resume and is_finished(config.out):
        return _outcome(Path(config.out), f"{config.out} is finished ({config.epochs} epochs): nothing to do")
    placement = place(config.accelerator, config.devices)
    check_precision(config.precision, placement.kind)
    with joined(placement):
        unet = make_unet()
        split = _split(config, count_parameters(unet), placement)
        data = make_data(config, split, pin_memory=placement.kind == "cuda")
        # After the checks of options and sets, so that a refused command makes no folder.
        with claimed(config.out, config.resume) as folder:
            _train_in(folder, config, unet, data, split, placement)
            return _outcome(folder, f"{folder}: {config.epochs} epochs")


def _train_in(
    folder: Path, config: FinetuneConfig, unet: nn.Module, data: DepthData, split: BatchSplit, placement: Placement
) -> None:
    say(_announce(config, data, split, count_parameters(unet)))
    if streaming := streaming_options(config):
        announce_streaming([data.train], DEPTH_PARTS, config.num_workers, streaming)
    for samples in (data.val,) if streaming else (data.train, data.val):
        announce_reading(samples, DEPTH_PARTS, config.num_workers)
    checkpoint, steps = find_resume(folder, data) if config.resume else (None, 0)
    # After resume's checks, so that a refused command leaves the run folder's config as it was.
    save_config(folder, config)
    seed_everything(config.seed, workers=False, verbose=False)
    model = DepthUnet(unet, make_hyperparameters(config, data))
    with _quiet(), StopSignals() as stop:
        trainer = make_trainer(config, data, split, placement, make_callbacks(config, data, split, stop), steps)
        with ending_together(placement, trainer.strategy, _lesser(split)):
            trainer.fit(model, data.train_loader, data.val_loader, ckpt_path=checkpoint, weights_only=True)


def make_hyperparameters(config: FinetuneConfig, data: DepthData) -> Hyperparameters:
    """Derive the model's hyper-parameters from the options and the training set."""
    steps = data.sampler.num_steps * config.epochs
    return Hyperparameters(
        encoder_name=config.encoder_name,
        height=config.height,
        width=config.width,
        loss=config.loss,
        learning_rate=config.learning_rate,
        warmup_steps=min(MAX_WARMUP_STEPS, round(WARMUP_SHARE * steps)),
        total_steps=steps,
        log_depth_mean=mean_log_depth(data.train),
        **training_camera(data.train, config.camera_focal_px),
    )


def make_callbacks(config: FinetuneConfig, data: DepthData, split: BatchSplit, stop: StopSignals) -> list[Callback]:
    """Build the callbacks of a run; their order matters, see below."""
    out, counter = Path(config.out), SampleCounter(config.seed)
    counter.attach(data.sampler)
    about = describe_run(config, data, split)
    budget = BadSampleBudget(config.max_bad)
    record = RunRecord(out, config.batch_size, about, budget)
    # The counter first, so that every other callback sees the state after the step. The record before the
    # checkpoint, so that a checkpoint never has more rows than the files. best.ckpt last, from the weights just saved.
    return [
        counter,
        budget,
        SameOnAllRanks(about),
        ThroughputMonitor(),
        TrainProgress(),
        DepthPanels(data.val),
        record,
        CheckpointKeeper(checkpoint_path(out, "last").parent, Cadence.parse(config.checkpoint_every), counter, stop),
        BestWeights(out, record, counter),
    ]


def make_trainer(
    config: FinetuneConfig,
    data: DepthData,
    split: BatchSplit,
    placement: Placement,
    callbacks: list[Callback],
    done_steps: int = 0,
) -> Trainer:
    """Build the Lightning trainer of a run that has done `done_steps` optimizer steps."""
    several = placement.world > 1
    return Trainer(
        **placement.trainer_arguments(),
        plugins=[placement.make_environment(), AtomicCheckpointIO()],
        # DDP gives all ranks the BatchNorm statistics of rank 0 before each batch, validation's too; with synchronised
        # BatchNorm they are the same anyway.
        strategy=DepthDDP(broadcast_buffers=placement.kind != "cuda") if several else "auto",
        # BatchNorm statistics of a few samples are noisy: share them over the GPUs. torch cannot do so on CPUs.
        sync_batchnorm=several and placement.kind == "cuda",
        precision=config.precision,
        deterministic=config.deterministic,
        max_epochs=config.epochs,
        accumulate_grad_batches=split.accumulation,
        gradient_clip_val=GRADIENT_CLIP,
        use_distributed_sampler=False,  # the project's samplers split the samples over the ranks
        num_sanity_val_steps=1,
        log_every_n_steps=max(1, min(50, data.sampler.num_steps // 10)),
        # Steps after the checkpoint are logged again, so TensorBoard must drop their earlier values.
        logger=TensorBoardLogger(
            config.out, "tensorboard", "", default_hp_metric=False, purge_step=done_steps if config.resume else None
        ),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def describe_run(config: FinetuneConfig, data: DepthData, split: BatchSplit) -> dict[str, Any]:
    """Collect the entries of `metrics.json` that identify the run."""
    return {
        "arm": Path(config.out).name,
        "encoder": config.encoder,
        "encoder_name": config.encoder_name,
        "seed": config.seed,
        "train": describe_set(data.train),
        "val": describe_set(data.val),
        "split": asdict(split),
    }


def _lesser(split: BatchSplit) -> str:
    """Return what to do when the micro-batch does not fit."""
    if split.micro_batch > 1:
        return f"give a smaller --micro-batch than {split.micro_batch}; the global batch stays as it is"
    return "a single sample does not fit: give a smaller --height and --width, or --precision bf16-mixed"


def _split(config: FinetuneConfig, parameters: int, placement: Placement) -> BatchSplit:
    """Split the batch, if it is up to us by the memory of the devices; warn if a single sample may not fit."""
    if config.micro_batch != AUTO:
        return split_batch(config.batch_size, placement.world, config.micro_batch, 0)
    need = StepMemory.estimate(config.encoder_name, config.height * config.width, parameters, placement.world)
    free = least_free_memory(placement)
    if free is not None and free < need.least:
        say(
            f"--micro-batch auto: about {need.least / 1e9:.1f} GB are needed for a single sample of {config.height} x "
            f"{config.width} pixels, the device with the least has {free / 1e9:.1f} GB free: this may run out of memory"
        )
    return split_batch(config.batch_size, placement.world, AUTO, need.fitting(free))


def _announce(config: FinetuneConfig, data: DepthData, split: BatchSplit, parameters: int) -> str:
    origin = "random weights" if config.encoder == SCRATCH else config.encoder
    steps = data.sampler.num_steps
    batch = f"batch {config.batch_size} = {split.world} ranks x {split.accumulation} x {split.micro_batch}"
    length = f"{config.epochs} x {steps} steps"
    return (
        f"finetune: {config.encoder_name} U-Net, {parameters / 1e6:.1f} M parameters, encoder from {origin}; "
        f"{len(data.train)} samples, validated on {len(data.val)}; {batch}; {length} -> {config.out}"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's information messages, and its warnings in `_NOT_OURS`; other warnings are shown."""
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _NOT_OURS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        log.setLevel(level)


def _outcome(folder: Path, text: str) -> Outcome:
    """Report the run folder's metrics, on rank 0 alone: the folder may not exist on other nodes."""
    if not is_rank_zero():
        return Outcome(data={}, text="")
    data = read_json(folder / METRICS_NAME, dict[str, Any])
    best = to_type(data, Summary, str(folder / METRICS_NAME)).best
    return Outcome(
        data=data | {"out": str(folder)},
        text=f"{text}; best: epoch {best.epoch + 1}, abs_rel {best.abs_rel:.4f}, delta1 "
        f"{best.delta1:.4f}; look at it with tensorboard --logdir {folder}",
    )
