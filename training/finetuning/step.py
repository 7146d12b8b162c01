"""What a run's options mean for its training steps: hyper-parameters of the model, and how steps are computed."""

from sharding.errors import UsageError
from training.config import FinetuneConfig
from training.depth_sets.camera import training_camera
from training.finetuning.check import is_clipped_scaled
from training.finetuning.depth_data import DepthData, mean_log_depth
from training.finetuning.settled import known_loss, known_name
from training.lightning.arguments import check_monitored
from training.model.depth_range import MIDDLE_LOG_DEPTH
from training.model.hyperparameters import DECAYS, Decay, Hyperparameters
from training.network.computation import Computation

_SHARES = {"cosine": 0.05, "one-cycle": 0.25}
"""Share of all steps that warms up by default; of one-cycle it is that of fastai's fit_one_cycle."""

_MAX_WARMUP_STEPS = 1000  # of the default with cosine


def make_hyperparameters(config: FinetuneConfig, data: DepthData, decay: Decay = DECAYS[0]) -> Hyperparameters:
    """Derive the model's hyper-parameters from the options and the training set.

    Args:
        config: Options.
        data: The sets.
        decay: What weight decay is for, see `Hyperparameters`: a resumed run goes on with what it had.
    """
    steps, kind = data.sampler.num_steps * config.epochs, data.subsets.kind
    return Hyperparameters(
        encoder_name=known_name(config),
        height=config.height,
        width=config.width,
        scale=config.scale,
        loss=known_loss(config),
        gradient_weight=config.gradient_weight,
        learning_rate=config.learning_rate,
        encoder_lr_factor=config.encoder_lr_factor,
        weight_decay=config.weight_decay,
        decay=decay,
        freeze_epochs=config.freeze_epochs,
        schedule=config.schedule,
        warmup_steps=count_warmup(config, steps),
        total_steps=steps,
        # Depth up to scale has another unit in each scene: a mean of them is none.
        log_depth_mean=mean_log_depth(data.train) if kind == "metric" else MIDDLE_LOG_DEPTH,
        depth_kind=kind,
        **training_camera(data.train, config.camera_focal_px),
    )


def count_warmup(config: FinetuneConfig, steps: int) -> int:
    """Return the optimizer steps of the warm-up of a run of `steps`.

    Raises:
        UsageError: They are more than the run has.
    """
    if config.warmup is None:
        warmup = round(_SHARES[config.schedule] * steps)
        return min(_MAX_WARMUP_STEPS, warmup) if config.schedule == "cosine" else warmup
    warmup = round(config.warmup * steps if config.warmup < 1 else config.warmup)
    if warmup > steps:
        raise UsageError(f"--warmup {config.warmup:g}: expected at most the {steps} steps of the run")
    return warmup


def check_steps(config: FinetuneConfig, data: DepthData, kind: str) -> None:
    """Check what depends on the training set, or on the kind of device, before anything is written.

    Raises:
        UsageError: The warm-up is too long, or the device cannot share BatchNorm statistics, or the run does not log
            what is monitored.
    """
    check_monitored(config.lightning, data.subsets.kind)
    count_warmup(config, data.sampler.num_steps * config.epochs)
    shares_statistics(config, kind)


def make_computation(config: FinetuneConfig, kind: str) -> Computation:
    """Decide how steps are computed on a kind of device ("cuda", "cpu", "mps"), where the options leave it open."""
    on_gpu = kind == "cuda"
    return Computation(
        channels_last=on_gpu if config.channels_last is None else config.channels_last,
        compiled=config.compile,
        recompute=config.checkpoint_activations,
        fused=on_gpu and not is_clipped_scaled(config) if config.fused is None else config.fused,
    )


def shares_statistics(config: FinetuneConfig, kind: str) -> bool:
    """Tell whether ranks share BatchNorm statistics: those of a few samples are noisy.

    Raises:
        UsageError: They should on a device that cannot.
    """
    if config.sync_batchnorm and kind != "cuda":
        raise UsageError("--sync-batchnorm: torch shares BatchNorm statistics over GPUs alone, and there are none")
    return kind == "cuda" if config.sync_batchnorm is None else config.sync_batchnorm
