"""Split the global batch over ranks, and into micro-batches that fit a device.

Global batch = ranks x accumulation x micro-batch.
"""

from dataclasses import dataclass

from sharding.errors import UsageError

AUTO = "auto"
"""Value of --micro-batch that lets the device's memory decide."""


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


def next_smaller(share: int, micro_batch: int) -> int:
    """Return the largest divisor of a rank's share that is at most half a micro-batch of at least 2."""
    return max(size for size in range(1, micro_batch // 2 + 1) if share % size == 0)
