"""How the global batch is cut: over ranks, and into micro-batches that fit a device."""

from dataclasses import dataclass

import torch

from sharding.errors import UsageError

AUTO = "auto"

ACTIVATION_BYTES = {"resnet18": 2900, "resnet34": 3110, "resnet50": 9530, "resnet101": 10400}
"""Bytes that a float32 step of the U-Net keeps for its backward pass, per input pixel, by encoder (measured)."""

STATE_BYTES = 16
"""Bytes a parameter: weight, gradient, and AdamW's two moments."""

_USABLE = 0.7  # of a device's memory; the rest is workspace, gradients of activations and fragmentation


@dataclass(frozen=True, kw_only=True)
class BatchSplit:
    """A global batch, cut.

    Attributes:
        world: Processes.
        micro_batch: Samples that a process computes at once.
        accumulation: Micro-batches that a process adds up before a step.
    """

    world: int
    micro_batch: int
    accumulation: int


def split_batch(batch_size: int, world: int, micro_batch: str, fitting: int) -> BatchSplit:
    """Cut a global batch.

    Args:
        batch_size: Global.
        world: Processes.
        micro_batch: "auto", or the number of samples, as text.
        fitting: What "auto" may take at most; it takes the largest divisor of a rank's share up to there.

    Raises:
        UsageError: The batch does not divide evenly.
    """
    share, rest = divmod(batch_size, world)
    if rest or share == 0:
        raise UsageError(f"--batch-size {batch_size} is that of all {world} processes: give a multiple of {world}")
    if micro_batch == AUTO:
        micro = max(divisor for divisor in range(1, share + 1) if share % divisor == 0 and divisor <= max(1, fitting))
    else:
        micro = _parse(micro_batch)
        if share % micro:
            raise UsageError(f"--micro-batch {micro} does not divide the {share} samples of each of {world} processes")
    return BatchSplit(world=world, micro_batch=micro, accumulation=share // micro)


def _parse(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--micro-batch {text}: expected a number of samples, or {AUTO}")
    return int(text)


def fitting_samples(encoder_name: str, pixels: int, parameters: int, memory_bytes: int | None) -> int:
    """How many samples of a float32 step fit a device, by estimate; half precision takes less.

    Args:
        encoder_name: Key of `ACTIVATION_BYTES`.
        pixels: Of an image.
        parameters: Of the network.
        memory_bytes: Of the device; None for no limit.
    """
    if memory_bytes is None:
        return 2**31
    free = _USABLE * memory_bytes - STATE_BYTES * parameters
    return max(1, int(free // (ACTIVATION_BYTES[encoder_name] * pixels)))


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU; None for a CPU, whose memory nobody can promise."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
