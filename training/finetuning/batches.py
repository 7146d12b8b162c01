"""Split the global batch over ranks, and into micro-batches that fit a device.

Global batch = ranks x accumulation x micro-batch.
"""

from dataclasses import dataclass

import torch

from sharding.errors import UsageError

AUTO = "auto"
"""Value of --micro-batch that lets the device's memory decide."""

ACTIVATION_BYTES = {"resnet18": 2900, "resnet34": 3110, "resnet50": 9530, "resnet101": 10400}
"""Bytes that a float32 step of the U-Net stores for its backward pass, per input pixel, by encoder (measured)."""

STATE_BYTES = 16
"""Bytes per parameter: weight, gradient, and AdamW's two moments, 4 bytes (float32) each."""

_USABLE = 0.7  # share of a device's memory; the rest is for workspace, gradients of activations and fragmentation


@dataclass(frozen=True, kw_only=True)
class BatchSplit:
    """A split of the global batch.

    Attributes:
        world: Number of processes.
        micro_batch: Samples that a process computes at once.
        accumulation: Micro-batches whose gradients a process accumulates before an optimizer step.
    """

    world: int
    micro_batch: int
    accumulation: int


def split_batch(batch_size: int, world: int, micro_batch: str, fitting: int) -> BatchSplit:
    """Split a global batch.

    Args:
        batch_size: Samples of the global batch.
        world: Number of processes.
        micro_batch: "auto", or the number of samples, as text.
        fitting: Largest micro-batch for "auto", which takes the largest divisor of a rank's share up to it.

    Raises:
        UsageError: The batch does not divide evenly.
    """
    share, rest = divmod(batch_size, world)
    if rest or share == 0:
        raise UsageError(f"--batch-size {batch_size} is that of all {world} processes: give a multiple of {world}")
    if micro_batch == AUTO:
        # max(1, fitting): a single sample is always tried, whatever the estimate.
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
    """Estimate how many samples of a float32 step fit a device; half precision needs less memory.

    Args:
        encoder_name: Key of `ACTIVATION_BYTES`.
        pixels: Pixels of a training image.
        parameters: Number of parameters of the network.
        memory_bytes: Memory of the device; None for no limit.
    """
    if memory_bytes is None:
        return 2**31
    # Parameters and optimizer state are there once, activations once per sample.
    free = _USABLE * memory_bytes - STATE_BYTES * parameters
    return max(1, int(free // (ACTIVATION_BYTES[encoder_name] * pixels)))


def device_memory(device: torch.device) -> int | None:
    """Return the memory of a GPU in bytes; None for a CPU, whose memory other programs share."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
