"""Measure what the micro-batch changes in training, through BatchNorm and otherwise; on generated data.

    python scripts/measure_micro_batch.py [--json] [--batch-size N] [--micro-batches N N ...] [--steps N] [--seeds N]

Each run takes the same steps on the same samples from the same weights, as `finetune` does but without clipping, and
accumulates the gradient over micro-batches of another size: a cut. All cuts are compared with the first one, twice:
with live BatchNorm statistics, those of each micro-batch, and with frozen ones, so that the output of a sample does not
depend on the rest of its micro-batch. The yardstick is a run of the first cut on other samples.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.config import ShardDiodeConfig
from sharding.errors import UsageError
from sharding.making.create import shard_diode
from sharding.options import option
from sharding.progress import say
from sharding.toyworld import make_diode


@dataclass(frozen=True, kw_only=True)
class MicroBatchConfig:
    """Options of `scripts/measure_micro_batch.py`."""

    batch_size: int = option(8, "samples of an optimizer step")
    micro_batches: tuple[int, ...] = option((8, 4, 2), "micro-batch sizes; the first is the reference", metavar="N")
    steps: int = option(2, "optimizer steps of each run")
    seeds: int = option(3, "repeats, each with other weights and samples")
    height: int = option(48, "height of the crops", metavar="PX")
    width: int = option(64, "width of the crops", metavar="PX")
    learning_rate: float = option(1e-4, "learning rate of AdamW")


FIGURES = {
    "gradient": "of the first step, by its norm",
    "weights": "after the last step, by their norm",
    "movement": "weights after the last step, by the norm of their change in all steps",
    "loss": "of the last step",
}
"""Differences between a cut and the reference, each relative to a quantity of the reference."""


def run(config: MicroBatchConfig) -> Outcome:
    """Measure all cuts.

    Raises:
        UsageError: A micro-batch size does not divide the batch size, or there is only one.
    """
    if len(config.micro_batches) < 2 or any(size < 1 or config.batch_size % size for size in config.micro_batches):
        raise UsageError(
            f"--micro-batches {' '.join(map(str, config.micro_batches))}: expected two sizes or more, each a divisor "
            f"of the batch of {config.batch_size}"
        )
    from traced_steps import quiet  # torch and Lightning: seconds

    with tempfile.TemporaryDirectory() as folder, quiet():
        source = make_toy_set(Path(folder), config)
        runs = [compare_cuts(config, source, seed) for seed in range(config.seeds)]
    rows = [
        {"statistics": kind, "cut": cut} | summarize_runs([one[kind, cut] for one in runs]) for kind, cut in runs[0]
    ]
    return Outcome(data={"config": asdict(config), "figures": FIGURES, "rows": rows}, text=format_table(config, rows))


def make_toy_set(folder: Path, config: MicroBatchConfig) -> str:
    """Generate a set with samples for all steps and return its path."""
    # More views than a run takes: some are indoors, and the yardstick draws its samples from the same set.
    make_diode(str(folder / "toy"), images=3 * config.batch_size * config.steps, height=64, width=96, seed=0)
    shard_diode(
        ShardDiodeConfig(source=str(folder / "toy"), set=str(folder / "set"), split="train", allow_bad=1000, workers=1)
    )
    return str(folder / "set")


def compare_cuts(config: MicroBatchConfig, source: str, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """Compute the figures of each cut but the first, with live and with frozen statistics, and of other samples."""
    from traced_steps import Steps, relate, trace_steps

    steps = Steps(
        count=config.steps,
        batch_size=config.batch_size,
        height=config.height,
        width=config.width,
        learning_rate=config.learning_rate,
    )
    figures = {}
    first, *others = config.micro_batches
    for frozen in (False, True):
        kind = "frozen" if frozen else "live"
        say(f"seed {seed}, {kind} statistics")
        reference = trace_steps(steps, source, (seed, seed), first, frozen)
        for size in others:
            cut = f"{config.batch_size // size} x {size}"
            figures[kind, cut] = relate(trace_steps(steps, source, (seed, seed), size, frozen), reference)
        if not frozen:
            another = trace_steps(steps, source, (seed, seed + config.seeds), first, frozen)
            figures[kind, "other samples"] = relate(another, reference)
    return figures


def summarize_runs(repeats: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Compute median, least and largest value of each figure."""
    columns = {name: [one[name] for one in repeats] for name in FIGURES}
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in columns.items()
    }


def format_table(config: MicroBatchConfig, rows: list[dict[str, Any]]) -> str:
    """Format the figures as text, a line a cut."""
    first = config.micro_batches[0]
    lines = [
        f"{config.steps} steps of {config.batch_size} crops of {config.height} x {config.width} px, ResNet-18 U-Net: "
        f"relative difference to {config.batch_size // first} x {first}",
        f"median (min - max) of {config.seeds} seeds",
        *(f"  {name}: {what}" for name, what in FIGURES.items()),
        f"{'statistics':<11}{'cut':<15}" + "".join(f"{name:<29}" for name in FIGURES),
    ]
    for row in rows:
        shown = [f"{row[name]['median']:.1e} ({row[name]['min']:.1e} - {row[name]['max']:.1e})" for name in FIGURES]
        lines.append(f"{row['statistics']:<11}{row['cut']:<15}" + "".join(f"{text:<29}" for text in shown))
    return "\n".join(line.rstrip() for line in lines)


COMMAND = Command(
    name="scripts/measure_micro_batch.py",
    config=MicroBatchConfig,
    runner=f"{__name__}:run",
    help="measure what the micro-batch changes in training, through BatchNorm and otherwise; on generated data",
    examples=(
        "scripts/measure_micro_batch.py",
        "scripts/measure_micro_batch.py --json > micro_batch.json",
        "scripts/measure_micro_batch.py --batch-size 16 --micro-batches 16 8 4 --height 128 --width 192 --seeds 1",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
