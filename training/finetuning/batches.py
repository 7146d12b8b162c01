"""Split the global batch over ranks, and into micro-batches that fit a device.

Global batch = ranks x accumulation x micro-batch.
"""

from dataclasses import dataclass

from sharding.errors import UsageError

AUTO = "auto"
"""Value of --micro-batch that lets the device's memory decide."""

ACTIVATION_BYTES = {"resnet18": 2900, "resnet34": 3110, "resnet50": 9530, "resnet101": 10400}
"""Bytes that a float32 step of the U-Net stores for its backward pass, per input pixel, by encoder (measured)."""

STATE_BYTES = 16
"""Bytes per parameter: weight, gradient, and AdamW's two moments, 4 bytes (float32) each."""

BUCKET_BYTES, UPDATE_BYTES = 4, 8
"""Bytes per parameter: of DDP's gradient buckets, if there are several ranks; of AdamW's temporaries while it updates,
when the activations are gone."""

_USABLE = 0.7  # share of a device's free memory; the rest is for workspace, gradients of activations and fragmentation


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


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Estimate of the memory that a float32 step takes; half precision takes less.

    Attributes:
        state: Bytes that are there all the time.
        sample: Bytes of each sample of a micro-batch.
        update: Bytes that the optimizer takes for a moment, after the backward pass.
    """

    state: int
    sample: int
    update: int

    @classmethod
    def estimate(cls, encoder_name: str, pixels: int, parameters: int, world: int) -> "StepMemory":
        """Estimate it.

        Args:
            encoder_name: Key of `ACTIVATION_BYTES`.
            pixels: Pixels of a training image.
            parameters: Number of parameters of the network.
            world: Number of ranks.
        """
        return cls(
            state=parameters * (STATE_BYTES + BUCKET_BYTES * (world > 1)),
            sample=ACTIVATION_BYTES[encoder_name] * pixels,
            update=parameters * UPDATE_BYTES,
        )

    def fitting(self, free_bytes: int | None) -> int:
        """Return the largest micro-batch that fits the memory of a device; 0 if none does; None sets no limit."""
        if free_bytes is None:
            return 2**31
        left = int(_USABLE * free_bytes) - self.state
        return left // self.sample if left >= max(self.sample, self.update) else 0

    @property
    def least(self) -> int:
        """Free bytes that a device must have for a single sample."""
        return int((self.state + max(self.sample, self.update)) / _USABLE)
