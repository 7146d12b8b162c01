"""Measure what the micro-batch still changes in training, through BatchNorm and otherwise; on generated data.

    python scripts/measure_micro_batch.py [--json] [--batch-size N] [--micro-batches N N ...] [--steps N] [--seeds N]

What is compared with what is said in `training.profiling.micro_batch`.
"""

import sys
from collections.abc import Sequence

from sharding.cli import Command
from sharding.cli import main as run_program
from training.config import MicroBatchConfig

COMMAND = Command(
    name="scripts/measure_micro_batch.py",
    config=MicroBatchConfig,
    runner="training.profiling.micro_batch:run",
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
