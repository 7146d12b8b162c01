"""`depthstream finetune`: train a depth U-Net on a set with metric depth, or depth up to scale.

Every rank runs this whole module (Lightning starts the command again for each further device). So all decisions follow
from the options and the run folder alone, and only rank 0 writes files.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from sharding.cli import Outcome
from sharding.format.strict_json import to_type
from sharding.options import checked
from sharding.progress import is_rank_zero
from training.checkpoint.budget import BadSampleBudget
from training.checkpoint.cadence import Cadence
from training.checkpoint.counter import SampleCounter
from training.checkpoint.keeper import CheckpointKeeper
from training.checkpoint.stop import StopSignals
from training.checkpoint.writer import AtomicCheckpointIO
from training.claim import claimed
from training.config import FinetuneConfig
from training.depth_sets.description import decisive, describe_subsets
from training.depth_sets.subsets import choose_subsets
from training.finetuning.announce import announce_run
from training.finetuning.batches import BatchSplit
from training.finetuning.best import BestWeights
from training.finetuning.check import check_finetune
from training.finetuning.depth_data import DepthData, make_data
from training.finetuning.micro_batch import choose_split
from training.finetuning.panels import DepthPanels
from training.finetuning.record import RunRecord, Summary
from training.finetuning.resume import Resume, find_resume
from training.finetuning.settled import recall, settle_loss, settle_name
from training.finetuning.shared_memory import check_room
from training.finetuning.step import check_steps, make_computation, make_hyperparameters, shares_statistics
from training.finetuning.trace import Trace, take_trace, weights_to_begin_with
from training.launch.devices import Placement, describe_device, place
from training.launch.group import DepthDDP, SameOnAllRanks, joined
from training.launch.launcher import check_precision
from training.launch.processes import ending_together
from training.lightning.parts import LightningParts, build_parts
from training.lightning.quiet import quiet_lightning
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters
from training.monitoring.monitor import ThroughputMonitor
from training.monitoring.train_progress import TrainProgress
from training.network.computation import Computation
from training.network.encoder import load_encoder, recognize
from training.network.unet import DepthNetwork, build_unet, split_parameters
from training.run_files import read_json
from training.runfolder import METRICS_NAME, SCRATCH, checkpoint_path, is_finished, save_config


def run(config: FinetuneConfig) -> Outcome:
    """Fine-tune from the encoder that `config` names; see `train`."""
    config = recall(checked(config))
    return train(config, lambda: init_model(weights_to_begin_with(config), config.encoder_name, config.seed))


def init_model(encoder: str | Path = SCRATCH, encoder_name: str | None = None, seed: int = 0) -> nn.Module:
    """Build the network: an encoder and its decoder.

    Args:
        encoder: Run folder of `pretrain`, a state dict file with torchvision's names, or "none" for random weights.
        encoder_name: Name of the ResNet, by torchvision; None for that of the run or file, else resnet50.
        seed: Seed of all random weights; the decoder's weights do not depend on the encoder's.

    Returns:
        A network from float32 (B, 3, H, W), normalised, to (B, 1, H, W), in training mode; it remembers `encoder` as
        its `source`. `DepthUnet` converts its output to metres.

    Raises:
        DataError: The file does not fill the whole encoder.
        UsageError: The ResNet is unknown, or is not that of the run.
    """
    unet = build_unet(load_encoder(encoder, encoder_name, seed), seed)
    unet.source = str(encoder)
    return unet


def finetune_unet(
    unet: nn.Module, train_set: str | Path, val_set: str | Path | None, out: str | Path, **options: Any
) -> DepthUnet:
    """Train a network of `init_model` as `depthstream finetune` does, and return it with the weights of its last epoch.

    Args:
        unet: The network; it is trained in place.
        train_set: Shard set to train on.
        val_set: Shard set to validate on; it may be None with `holdout_scenes` among the options.
        out: Run folder, new or empty.
        **options: Fields of `FinetuneConfig`, such as batch_size or epochs; `encoder` and `encoder_name` are those of
            the network.

    Example:
        >>> unet = init_model("runs/conservative")                                              # doctest: +SKIP
        >>> model = finetune_unet(unet, "sets/train", "sets/val", "runs/depth", batch_size=32)  # doctest: +SKIP
    """
    val = None if val_set is None else str(val_set)
    if isinstance(unet, DepthNetwork):
        options = {"encoder": unet.source} | options
    config = FinetuneConfig(set=str(train_set), val=val, out=str(out), **options)
    train(config, lambda: unet)
    return DepthUnet.load(checkpoint_path(out, "last"))


MakeModel = Callable[[nn.Module, Hyperparameters, Computation], DepthUnet]
"""(network, its hyper-parameters, how steps are computed): `DepthUnet`, or a subclass of it."""


def train(config: FinetuneConfig, make_unet: Callable[[], nn.Module], make_model: MakeModel = DepthUnet) -> Outcome:
    """Train the network that `make_unet()` returns; `training.finetuning.record` documents the files of the run folder.

    Args:
        config: Options of the run.
        make_unet: Builds the network; called once the options and sets are checked.
        make_model: Makes of it what is trained.

    Raises:
        UsageError: An option has an impossible value, or the run folder contains another run.
        DataError: A set or the encoder is invalid, or training diverged.
    """
    config = recall(checked(config))
    check_finetune(config)
    if config.resume and is_finished(config.out):
        return _outcome(Path(config.out), "{out} is finished ({epochs} epochs): nothing to do")
    placement = place(config.accelerator, config.devices)
    check_precision(config.precision, placement.kind)
    with joined(placement):
        unet = make_unet()
        config = settle_name(config, recognize(split_parameters(unet)[0]))
        subsets = choose_subsets(config)
        config = settle_loss(config, subsets.kind)
        split = choose_split(config, unet, placement)
        pinned = placement.kind == "cuda"
        check_room(config, subsets, split, pinned=pinned)
        data = make_data(config, subsets, split, pinned)
        check_steps(config, data, placement.kind)
        # After the checks of options and sets, so that a refused command makes no folder.
        with claimed(config.out, config.resume) as folder:
            announce_run(config, data, split, unet)
            _train_in(folder, config, partial(make_model, unet), data, split, placement)
            return _outcome(folder, "{out}: {epochs} epochs")


def _train_in(
    folder: Path,
    config: FinetuneConfig,
    make_model: Callable[[Hyperparameters, Computation], DepthUnet],
    data: DepthData,
    split: BatchSplit,
    placement: Placement,
) -> None:
    resume = find_resume(folder, data, config.encoder) if config.resume else Resume()
    hyperparameters = make_hyperparameters(config, data, resume.decay)
    parts = build_parts(config.lightning, folder, resume.steps if config.resume else None)
    # After resume's checks, so that a refused command leaves the run folder's config as it was.
    save_config(folder, config)
    seed_everything(config.seed, workers=False, verbose=False)
    model = make_model(hyperparameters, make_computation(config, placement.kind))
    with quiet_lightning(), StopSignals() as stop:
        trace = take_trace(config, describe_device(placement.devices[placement.local_rank])) if is_rank_zero() else {}
        callbacks = [*make_callbacks(config, data, split, stop, trace), *parts.callbacks]
        trainer = make_trainer(config, data, split, placement, callbacks, resume.steps, parts)
        with ending_together(placement, trainer.strategy, _lesser(split)):
            trainer.fit(model, data.train_loader, data.val_loader, ckpt_path=resume.checkpoint, weights_only=True)


def make_callbacks(
    config: FinetuneConfig, data: DepthData, split: BatchSplit, stop: StopSignals, trace: Trace
) -> list[Callback]:
    """Build the callbacks of a run; their order matters, see below."""
    out, counter = Path(config.out), SampleCounter(config.seed)
    counter.attach(data.sampler)
    about = describe_run(config, data, split)
    budget = BadSampleBudget(config.max_bad)
    record = RunRecord(out, config.batch_size, about, budget, trace)
    # The counter first, so that every other callback sees the state after the step. The record before the
    # checkpoint, so that a checkpoint never has more rows than the files. best.ckpt last, from the weights just saved.
    return [
        counter,
        budget,
        SameOnAllRanks(_plan(about)),
        ThroughputMonitor(),
        TrainProgress(record.standing),
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
    parts: LightningParts | None = None,
) -> Trainer:
    """Build the Lightning trainer of a run that has done `done_steps` optimizer steps."""
    several, parts = placement.world > 1, parts or LightningParts()
    # Steps after the checkpoint are logged again, so TensorBoard must drop their earlier values.
    purge_step = done_steps if config.resume else None
    tensorboard = TensorBoardLogger(config.out, "tensorboard", "", default_hp_metric=False, purge_step=purge_step)
    logged = {"log_every_n_steps": max(1, min(50, data.sampler.num_steps // 10))}
    return Trainer(
        **placement.trainer_arguments(),
        plugins=[placement.make_environment(), AtomicCheckpointIO()],
        # DDP gives all ranks the BatchNorm statistics of rank 0 before each batch, validation's too; with synchronised
        # BatchNorm they are the same anyway.
        strategy=DepthDDP(broadcast_buffers=not shares_statistics(config, placement.kind)) if several else "auto",
        sync_batchnorm=several and shares_statistics(config, placement.kind),
        precision=config.precision,
        deterministic=config.deterministic,
        max_epochs=config.epochs,
        accumulate_grad_batches=split.accumulation,
        gradient_clip_val=config.clip or None,
        use_distributed_sampler=False,  # the project's samplers split the samples over the ranks
        num_sanity_val_steps=1,
        logger=[tensorboard, *parts.loggers],
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        **(logged | parts.arguments),
    )


def describe_run(config: FinetuneConfig, data: DepthData, split: BatchSplit) -> dict[str, Any]:
    """Collect the entries of `metrics.json` that identify the run."""
    return {
        "encoder": config.encoder,
        "encoder_name": config.encoder_name,
        "loss": config.loss,
        "seed": config.seed,
        **describe_subsets(config, data.subsets),
        "split": asdict(split),
    }


def _plan(about: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same on all ranks: where the sets lie may differ."""
    sets = {name: decisive(about[name]) for name in ("train", "val")}
    return {name: value for name, value in about.items() if name != "val_set"} | sets


def _lesser(split: BatchSplit) -> str:
    """Return what to do when the micro-batch does not fit."""
    if split.micro_batch > 1:
        return f"give a smaller --micro-batch than {split.micro_batch}; the global batch stays as it is"
    return (
        "a single sample does not fit: give --checkpoint-activations, --precision bf16-mixed, or a smaller --height "
        "and --width"
    )


def _outcome(folder: Path, text: str) -> Outcome:
    """Report the run folder's metrics, on rank 0 alone: the folder may not exist on other nodes.

    Args:
        folder: The run folder.
        text: What is said, with {out} and {epochs}: fewer than asked for, if the run has ended early.
    """
    if not is_rank_zero():
        return Outcome(data={}, text="")
    data = read_json(folder / METRICS_NAME, dict[str, Any])
    summary = to_type(data, Summary, str(folder / METRICS_NAME))
    best, last, text = summary.best, summary.last, text.format(out=folder, epochs=summary.epochs)
    return Outcome(
        data=data | {"out": str(folder)},
        text=f"{text}; last: log10 {last.log10:.4f}, abs_rel {last.abs_rel:.4f}, delta1 {last.delta1:.4f}; best by "
        f"{summary.monitor}: epoch {best.epoch + 1}; look at it with tensorboard --logdir {folder}",
    )
