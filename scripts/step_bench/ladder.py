"""The ways to compute a training step that are compared, each with one measure more than another."""

import contextlib
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from training.network.computation import Computation
from training.network.float32 import tf32

Format = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A way to compute a step.

    Attributes:
        adds: What it adds, in words.
        to: Name of the rung that it adds this to; "" for the baseline.
        forward: Whose forward pass: fastai's DynamicUnet or ours, of the same weights.
        tf32: Whether convolutions of float32 may use TF32 on a GPU, as they may by torch's default.
        product_tf32: Whether matrix products may, too.
        bf16: Whether the forward pass is under autocast to bfloat16, as with `--precision bf16-mixed`.
        computation: The switches of `finetune`.
    """

    adds: str
    to: str
    forward: Literal["fastai", "ours"] = "fastai"
    tf32: bool = True
    product_tf32: bool = False
    bf16: bool = False
    computation: Computation = field(default_factory=Computation)

    def format_on(self, device: torch.device) -> Format:
        """Return the format that convolutions are computed in."""
        if self.bf16:
            return "bf16"
        return "tf32" if self.tf32 and device.type == "cuda" else "float32"

    def formats(self) -> contextlib.AbstractContextManager[None]:
        """Allow what the rung allows, and restore torch's settings afterwards."""
        return tf32(self.tf32, self.product_tf32)


BASELINE = "eager"


def _make_ladder() -> dict[str, Rung]:
    eager = Rung(adds="fastai's DynamicUnet, as torch ships", to="")
    forward = replace(eager, adds="our forward pass", to="eager", forward="ours")
    last = replace(forward, adds="channels last", to="forward", computation=Computation(channels_last=True))
    switches = Computation(channels_last=True, fused=True)
    fused = replace(last, adds="fused AdamW", to="channels_last", computation=switches)
    bf16 = replace(fused, adds="bf16-mixed", to="fused", bf16=True)
    return {
        BASELINE: eager,
        "forward": forward,
        "channels_last": last,
        "fused": fused,
        "bf16": bf16,
        "checkpoint": replace(
            bf16, adds="checkpointed activations", to="bf16", computation=replace(switches, recompute=True)
        ),
        "eager_tf32": replace(eager, adds="TF32 in matrix products too", to="eager", product_tf32=True),
        "eager_float32": replace(eager, adds="float32 in convolutions too", to="eager", tf32=False),
        "compile": replace(bf16, adds="torch.compile", to="bf16", computation=replace(switches, compiled=True)),
    }


LADDER = _make_ladder()
"""By name. As torch ships, a GPU computes convolutions in TF32 and matrix products in float32. What takes long, true
float32 and compiling, comes last, so that a run that is cut off has the rest."""

FED = {"cuda": "bf16", "cpu": "forward"}
"""The step that is fed from a set, by the kind of device: the switches that `finetune` has by default. On a GPU in
bfloat16, since a faster step is harder to feed."""

GPU_ONLY = ("eager_tf32", "eager_float32")
"""Rungs that differ from the baseline on a GPU alone: a CPU has no TF32."""
