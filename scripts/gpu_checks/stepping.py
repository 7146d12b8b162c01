"""A training step of the depth network on tensors that are on the device already, timed and in parts."""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gpu_checks.bench import Bench
from training.finetuning.finetune import init_model
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters

ENOUGH_S = 4.0
"""Time after which work is not repeated once more."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a step is computed.

    Attributes:
        tf32: Whether convolutions and matrix products may use TF32.
        bf16: Whether the forward pass runs in bfloat16.
        channels_last: Whether activations are stored with channels last.
        fused: Whether AdamW updates in one kernel.
    """

    tf32: bool = False
    bf16: bool = False
    channels_last: bool = False
    fused: bool = False


class Step:
    """A network with its optimizer and one batch on a device.

    Args:
        bench: Device and encoder.
        variant: How it is computed.
        height, width, batch: Of the images.
    """

    def __init__(self, bench: Bench, variant: Variant, height: int, width: int, batch: int) -> None:
        options = Hyperparameters(encoder_name=bench.sizes.encoder)
        self.device, self._variant = bench.device, variant
        self.model = DepthUnet(copy.deepcopy(make_network(options.encoder_name)), options).to(self.device)
        if variant.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=variant.fused or None)
        self.batch = make_batch(height, width, batch, self.device)

    def forward(self) -> Tensor:
        """Compute the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._variant.bf16):
            return self.model.loss_sum(self.model(self.batch["image"]), self.batch).mean()

    def __call__(self) -> None:
        """Take a step; on a GPU it is only queued."""
        self.optimizer.zero_grad()
        torch.autograd.backward(self.forward())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def count_flop(self) -> int:
        """Count the floating point operations of forward and backward pass, two for a multiply-add."""
        with FlopCounterMode(display=False) as counter:
            torch.autograd.backward(self.forward())
        return int(counter.get_total_flops())


@cache
def make_network(encoder: str) -> nn.Module:
    """Build a network once: initialising hundreds of millions of weights takes seconds. Copy it before training."""
    return init_model("none", encoder)


def make_batch(height: int, width: int, batch: int, device: torch.device) -> dict[str, Any]:
    """Make a batch as the loader does, of noise, on a device."""
    drawn = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=drawn)
    depth = torch.rand((batch, 1, height, width), generator=drawn) * 20 + 1
    tensors = {"image": image, "depth": depth, "valid": depth > 2, "weight": torch.ones(batch)}
    return {name: tensor.to(device) for name, tensor in tensors.items()} | {"key": ["constant"] * batch}


def time_ms(work: Callable[[], object], device: torch.device, repeats: int) -> dict[str, float]:
    """Time work on a device: median, least and most, milliseconds, and how often, after two times to warm up.

    Slow work is repeated less often than `repeats`: at least twice, and not after `ENOUGH_S`.
    """
    for _ in range(2):
        work()
    times: list[float] = []
    while len(times) < repeats and (len(times) < 2 or sum(times) < 1000 * ENOUGH_S):
        synchronize(device)
        begin = time.perf_counter()
        work()
        synchronize(device)
        times.append(1000 * (time.perf_counter() - begin))
    return {"ms": statistics.median(times), "ms_min": min(times), "ms_max": max(times), "repeats": len(times)}


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_flops(device: torch.device, dtype: torch.dtype, side: int, repeats: int) -> float:
    """Measure floating point operations a second of a square matrix product."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    spent = time_ms(lambda: one @ other, device, repeats)
    return 2 * side**3 / (spent["ms"] / 1000)
