"""Options of `finetune` about its training steps: what they learn with, and how they are computed."""

from dataclasses import dataclass
from typing import Literal

from sharding.options import option

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Options of the optimizer and of its learning rate."""

    learning_rate: float = option(1e-4, "peak learning rate", metavar="X", above=0)
    encoder_lr_factor: float = option(
        1.0, "multiple of the learning rate that the encoder is trained with", metavar="X", least=0
    )
    freeze_epochs: int = option(
        0,
        "epochs at the start in which the encoder and its BatchNorm statistics stay as they are",
        metavar="N",
        least=0,
    )
    schedule: Literal["cosine", "one-cycle"] = option(
        "cosine", "learning rate after the warm-up: cosine falls to 0; one-cycle rises longer and cycles the momentum"
    )
    warmup: float | None = option(
        None,
        "warm-up: a number of steps, or a share of all steps if below 1 (default: 0.05, at most 1000 steps; with "
        "one-cycle 0.25)",
        metavar="N|SHARE",
        least=0,
    )
    weight_decay: float = option(
        1e-2, "decoupled weight decay of AdamW, not of biases and BatchNorm", metavar="X", least=0
    )
    clip: float = option(1.0, "largest norm of all gradients together; 0: no limit", metavar="X", least=0)
    sync_batchnorm: bool | None = option(None, "BatchNorm statistics of all GPUs together (default: with several GPUs)")


@dataclass(frozen=True, kw_only=True)
class ComputationOptions:
    """Options that change speed and memory, and nothing of the result but rounding."""

    precision: Precision = option(
        "32-true",
        "number format of the forward pass; losses are always float32. 32-true: convolutions in TF32 on GPUs that have "
        "it; 16-mixed: a step whose gradients overflow changes nothing, but is counted",
    )
    channels_last: bool | None = option(None, "store images and weights with channels last (default: on a GPU)")
    compile: bool = option(False, "compile the network for the training size: minutes at the start, faster steps")
    checkpoint_activations: bool = option(
        False, "compute activations again in the backward pass: a fifth to a third less memory, a third more operations"
    )
    fused: bool | None = option(
        None, "update all weights in one kernel (default: on a GPU, except for 16-mixed with --clip)"
    )
