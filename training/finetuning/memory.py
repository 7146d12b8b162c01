"""What the training steps of a run cost, and the micro-batch that fits a device by it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from training.config import FinetuneConfig
from training.finetuning.batches import BatchSplit
from training.finetuning.settled import known_name
from training.model.cost import StepCost, compute_cost

STATE_BYTES = 16
"""Bytes per parameter: weight, gradient, and AdamW's two moments, 4 bytes (float32) each, also in mixed precision."""

BUCKET_BYTES, UPDATE_BYTES = 4, 8
"""Bytes per parameter: of DDP's gradient buckets, if there are several ranks; of AdamW's temporaries while it updates,
when the activations are gone."""

USABLE = 0.9
"""Share of a device's free memory that is planned with; the rest is for workspace and fragmentation."""


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Estimate of the memory that a training step takes.

    Attributes:
        state: Bytes that are there all the time.
        sample: Bytes of each sample of a micro-batch.
        update: Bytes that the optimizer takes for a moment, after the backward pass.
    """

    state: int
    sample: int
    update: int

    @classmethod
    def estimate(cls, cost: StepCost, world: int) -> "StepMemory":
        """Estimate it.

        Args:
            cost: Of a step.
            world: Number of ranks.
        """
        return cls(
            state=cost.parameters * (STATE_BYTES + BUCKET_BYTES * (world > 1)) + cost.copy_bytes,
            sample=cost.sample_bytes,
            update=cost.parameters * UPDATE_BYTES,
        )

    def total(self, micro_batch: int) -> int:
        """Return the bytes of a step of a micro-batch, without what a device adds."""
        return self.state + max(micro_batch * self.sample, self.update)

    def fitting(self, free_bytes: int | None) -> int:
        """Return the largest micro-batch that fits the memory of a device; 0 if none does; None sets no limit."""
        if free_bytes is None:
            return 2**31
        left = int(USABLE * free_bytes) - self.state
        return left // self.sample if left >= max(self.sample, self.update) else 0

    @property
    def least(self) -> int:
        """Free bytes that a device must have for a single sample."""
        return int(self.total(1) / USABLE)


def cost_of(config: FinetuneConfig) -> StepCost:
    """Compute the cost of a run's step for one image."""
    name, recompute = known_name(config), config.checkpoint_activations
    return compute_cost(name, config.height, config.width, config.precision, recompute)


def describe_cost(config: FinetuneConfig, split: BatchSplit) -> str:
    """Say what a step computes, and the memory of its micro-batch: as it is, and with options that take less."""
    cost = cost_of(config)
    flop = config.batch_size * cost.step_flop / 1e9
    needs = [(how, StepMemory.estimate(cost_of(one), split.world)) for how, one in _alternatives(config)]
    sizes = "; ".join(f"{need.total(split.micro_batch) / 1e9:.1f} GB {how}" for how, need in needs)
    return (
        f"a step: {flop:,.0f} GFLOP ({cost.step_flop / 1e9:,.0f} an image); memory, estimated, for a micro-batch of "
        f"{split.micro_batch}: {sizes}"
    )


def _alternatives(config: FinetuneConfig) -> Iterator[tuple[str, FinetuneConfig]]:
    """Name the precision of a run, and options by which it would take less memory."""
    checkpointed = ", --checkpoint-activations" if config.checkpoint_activations else ""
    yield f"({config.precision}{checkpointed})", config
    options = {
        "--checkpoint-activations": replace(config, checkpoint_activations=True),
        "--precision bf16-mixed": replace(config, precision="bf16-mixed"),
    }
    lesser = {how: one for how, one in options.items() if one != config and not _is_mixed(config, one)}
    for how, one in lesser.items():
        yield f"with {how}", one
    if len(lesser) > 1:
        yield "with both", replace(config, precision="bf16-mixed", checkpoint_activations=True)


def _is_mixed(config: FinetuneConfig, other: FinetuneConfig) -> bool:
    """Tell whether two runs differ in nothing but the kind of 16 bits."""
    return config.precision == "16-mixed" and replace(config, precision=other.precision) == other
