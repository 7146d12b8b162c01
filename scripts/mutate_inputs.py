"""Change sound inputs at random, and look what their decoders make of them.

    python scripts/mutate_inputs.py [--minutes N] [--only NAME ...] [--seed N] [--json]

Manifests, indexes, tars, frames, encodings of parts and conditions (`--where`) are changed in some places, each by a
seed of its own, and decoded in a process with limits of time and memory. Each must give a value that is not silently
wrong, or an error of one line. What else happens is listed with its seed, and the exit status is 1.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError
from sharding.options import option
from sharding.progress import say


@dataclass(frozen=True, kw_only=True)
class MutateInputsConfig:
    """Options of the mutations."""

    minutes: float = option(30.0, "time for all targets together", metavar="N", above=0)
    only: tuple[str, ...] = option((), "targets", metavar="NAME", shown="all")
    seed: int = option(0, "first seed", least=0)


def run(config: MutateInputsConfig) -> Outcome:
    """Change and decode.

    Raises:
        UsageError: There is no such target.
    """
    from mutations.targets import make_targets
    from mutations.watched import count_outcomes

    targets = {target.name: target for target in make_targets()}
    if unknown := [name for name in config.only if name not in targets]:
        raise UsageError(f"--only {unknown[0]}: expected some of {', '.join(targets)}")
    chosen = [target for name, target in targets.items() if name in config.only or not config.only]
    results, faults = {}, []
    for target in chosen:
        outcomes, found, until = count_outcomes(target, config.seed, 60 * config.minutes / len(chosen))
        results[target.name] = dict(sorted(outcomes.items())) | {"seeds": until - config.seed}
        faults += found
        say(f"{target.name}: {results[target.name]}")
    lines = [f"{name}: {found}" for name, found in results.items()] + [str(fault) for fault in faults]
    data = {"targets": results, "faults": faults, **describe_machine(("pyarrow", "msgspec", "zstandard"))}
    return Outcome(data=data, text="\n".join(lines), ok=not faults)


COMMAND = Command(
    name="scripts/mutate_inputs.py",
    config=MutateInputsConfig,
    runner=f"{__name__}:run",
    help="change sound inputs at random, and look what their decoders make of them",
    examples=(
        "scripts/mutate_inputs.py --json > mutations.json",
        "scripts/mutate_inputs.py --minutes 2 --only manifest where --seed 7",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
