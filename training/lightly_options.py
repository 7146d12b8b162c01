"""Arguments of LightlyTrain that `pretrain` passes on, in LightlyTrain's words; nothing heavy imported."""

from dataclasses import dataclass
from typing import Any, Literal

from sharding.options import option

Optimizer = Literal["auto", "adamw", "adamw8bit", "sgd", "lars"]
MatmulPrecision = Literal["auto", "highest", "high", "medium"]

Method = Literal[
    "densecl",
    "dino",
    "dinov2",
    "dinov31",
    "distillation",
    "distillationv1",
    "distillationv2",
    "distillationv3",
    "simclr",
]
"""Methods of LightlyTrain 0.18; it has densecl, too, but does not list it."""

PretrainPrecision = Literal[
    "auto",
    "32-true",
    "bf16-mixed",
    "16-mixed",
    "64-true",
    "bf16-true",
    "16-true",
    "transformer-engine",
    "transformer-engine-float16",
    "64",
    "32",
    "16",
    "bf16",
]
"""Number formats of LightlyTrain; those without a word are short for 64-true, 32-true, 16-mixed and bf16-mixed."""


@dataclass(frozen=True, kw_only=True)
class LightlyOptions:
    """Arguments of `lightly_train.pretrain` that have no other option; its documentation says more."""

    embed_dim: int | None = option(
        None,
        "size of the embedding between the model and the method's head (default: the model's)",
        metavar="N",
        least=1,
    )
    gradient_accumulation_steps: int = option(
        1, "micro-batches that a device computes in turn for a step; --batch-size counts them all", metavar="N", least=1
    )
    checkpoint: str | None = option(
        None, "run folder or checkpoint of `pretrain` whose weights to begin with", metavar="RUN|FILE", path="local"
    )
    float32_matmul_precision: MatmulPrecision = option("auto", "format in which a GPU multiplies float32 matrices")
    optim: Optimizer = option("auto", "optimizer; auto: the method's")
    optim_args: dict[str, Any] | None = option(None, "of the optimizer: lr, weight_decay, betas, momentum, ...")
    method_args: dict[str, Any] | None = option(None, "of the method: temperature, output_dim, ...")
    transform_args: dict[str, Any] | None = option(
        None, "of the views, over what --augmentation sets: color_jitter, random_resize, normalize, ..."
    )
    model_args: dict[str, Any] | None = option(None, "of the model's constructor")
    loader_args: dict[str, Any] | None = option(
        None, "of the loader: prefetch_factor, pin_memory, persistent_workers, timeout, multiprocessing_context"
    )
    trainer_args: dict[str, Any] | None = option(
        None, "of Lightning's trainer: gradient_clip_val, log_every_n_steps, profiler, ..."
    )
    callbacks: dict[str, Any] | None = option(
        None, "by name, null for none: early_stopping, learning_rate_monitor, device_stats_monitor, model_export"
    )
    loggers: dict[str, Any] | None = option(None, "by name, null for none: jsonl, tensorboard, mlflow, wandb")
    activation_checkpoint_args: dict[str, Any] | None = option(
        None, "of transformers: {enabled: true, every_n_blocks: 1} computes activations again to save memory"
    )
