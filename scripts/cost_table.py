"""Compute what a training step of the depth network costs: operations, memory, and the micro-batch that fits a card.

    python scripts/cost_table.py [--encoders NAME ...] [--sizes HxW ...] [--json]

Nothing is measured: `training.model.cost` computes it without a GPU. `docs/cost.md` has the tables.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError
from sharding.options import option
from training.network.encoder_name import ENCODERS

SIZES = ("256x256", "384x384", "512x512", "768x768", "768x1024")
PRECISIONS = ("32-true", "bf16-mixed")
CARDS_GB = (24, 80)


@dataclass(frozen=True, kw_only=True)
class CostTableConfig:
    """Options of `scripts/cost_table.py`."""

    encoders: tuple[str, ...] = option(tuple(ENCODERS), "encoders", metavar="NAME")
    sizes: tuple[str, ...] = option(SIZES, "height and width of the training crops, pixels", metavar="HxW")


def run(config: CostTableConfig) -> Outcome:
    """Compute all rows.

    Raises:
        UsageError: There is no such encoder, or a size is none.
    """
    if unknown := [name for name in config.encoders if name not in ENCODERS]:
        raise UsageError(f"--encoders {unknown[0]}: there are {', '.join(ENCODERS)}")
    sizes = [_parse(size) for size in config.sizes]
    tables = {name: [row for size in sizes for row in iter_rows(name, *size)] for name in config.encoders}
    text = "\n\n".join(format_table(name, rows) for name, rows in tables.items())
    return Outcome(data={"cards_gb": CARDS_GB, "encoders": tables}, text=text)


def _parse(size: str) -> tuple[int, int]:
    height, found, width = size.partition("x")
    if not (found and height.isdecimal() and width.isdecimal() and min(int(height), int(width)) > 32):
        raise UsageError(f"--sizes {size}: expected height x width, above 32 pixels each, such as 768x1024")
    return int(height), int(width)


def iter_rows(encoder: str, height: int, width: int) -> Iterator[dict[str, Any]]:
    """Compute the rows of one size, one for each precision, with and without checkpointing."""
    from training.finetuning.memory import StepMemory  # torch: seconds
    from training.model.cost import compute_cost

    for precision in PRECISIONS:
        for recompute in (False, True):
            cost = compute_cost(encoder, height, width, precision, recompute)
            need = StepMemory.estimate(cost, 1)
            yield {
                "size": f"{height} x {width}",
                "precision": precision,
                "checkpointed": recompute,
                "parameters": cost.parameters,
                "forward_gflop": cost.forward_flop / 1e9,
                "step_gflop": cost.step_flop / 1e9,
                "kept_bytes_per_pixel": cost.kept_bytes / (height * width),
                "sample_bytes": need.sample,
                "state_bytes": need.state,
                "micro_batch": {f"{card} GB": need.fitting(card * 10**9) for card in CARDS_GB},
            }


def format_table(encoder: str, rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of an encoder as Markdown."""
    cards = " | ".join(f"{card} GB" for card in CARDS_GB)
    lines = [
        f"**{encoder}**, {rows[0]['parameters'] / 1e6:.1f} M parameters",
        "",
        "| size | precision | checkpointed | GFLOP, forward | GFLOP, step | kept, bytes a pixel | GB a sample "
        f"| GB, fixed | {cards} |",
        "|---|---|---|" + "--:|" * (5 + len(CARDS_GB)),
    ]
    for row in rows:
        cells = [
            *(row["size"], row["precision"], "yes" if row["checkpointed"] else "no"),
            *(f"{row['forward_gflop']:,.0f}", f"{row['step_gflop']:,.0f}", f"{row['kept_bytes_per_pixel']:,.0f}"),
            *(f"{row['sample_bytes'] / 1e9:.2f}", f"{row['state_bytes'] / 1e9:.2f}"),
            *(str(number or "none") for number in row["micro_batch"].values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/cost_table.py",
    config=CostTableConfig,
    runner=f"{__name__}:run",
    help="compute what a training step of the depth network costs: operations, memory, largest micro-batch",
    examples=(
        "scripts/cost_table.py",
        "scripts/cost_table.py --encoders resnet50 --sizes 640x832 --json",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
