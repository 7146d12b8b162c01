"""Measure each stage of loading a set, alone and together: the JSON on stdout, the table on stderr.

    python scripts/profile_throughput.py SET [--where EXPR] [--samples N] [--repeats N] [--num-workers N] > figures.json

A front to `depthstream profile`, whose module `training.profiling.profile` documents the figures; for records and for
plots that want both at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from sharding.command import Outcome
from sharding.command import main as run_program
from sharding.progress import say
from training.commands import COMMANDS
from training.config import ProfileConfig


def run(config: ProfileConfig) -> Outcome:
    """Measure, and show the table on stderr."""
    from training.profiling.profile import run as measure  # torch: not for --help

    outcome = measure(config)
    say(outcome.text)
    return outcome


def main(argv: Sequence[str]) -> int:
    """Run with the options of `depthstream profile` and return its exit status."""
    command = next(one for one in COMMANDS if one.name == "profile")
    here = replace(command, runner=f"{__name__}:run")
    return run_program("depthstream", __doc__, [here], [command.name, "--json", *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
