"""Simulate how often the verdict of `depthstream compare` is wrong, and how often it finds a difference.

    python scripts/simulate_verdict.py [--experiments N] [--seed N] [--json]

Nothing is trained: `training.report.simulation` draws the scene means of runs, and the functions that `compare` calls
judge them. `docs/protocol.md` has the tables. The exit status is 1 if a bound is missed.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.options import option
from sharding.progress import track

if TYPE_CHECKING:
    from training.report.simulation import Row


@dataclass(frozen=True, kw_only=True)
class SimulateVerdictConfig:
    """Options of the simulation."""

    experiments: int = option(4000, "experiments of each row", metavar="N", least=1)
    seed: int = option(0, "of the random numbers; rows do not depend on each other", least=0)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A design table.

    Attributes:
        title: Its heading.
        estimate: Field of `Row` that it shows.
        scenes: Number of scenes.
        arm_scene: Standard deviation of arm x scene.
        contrasts: Number of contrasts in the study.
    """

    title: str
    estimate: str
    scenes: int
    arm_scene: float
    contrasts: int = 1


TABLES = {
    "these_3": Table(title="On these three scenes", estimate="these_scenes", scenes=3, arm_scene=0.0),
    "these_3_six_contrasts": Table(
        title="On these three scenes, the first of six contrasts",
        estimate="these_scenes",
        scenes=3,
        arm_scene=0.0,
        contrasts=6,
    ),
    "like_3": Table(title="On scenes like three", estimate="scenes_like_these", scenes=3, arm_scene=0.05),
    "like_12": Table(title="On scenes like twelve", estimate="scenes_like_these", scenes=12, arm_scene=0.05),
    "like_12_six_contrasts": Table(
        title="On scenes like twelve, the first of six contrasts",
        estimate="scenes_like_these",
        scenes=12,
        arm_scene=0.05,
        contrasts=6,
    ),
}


def run(config: SimulateVerdictConfig) -> Outcome:
    """Simulate the bounded shares and the design tables."""
    from training.report import simulation as simulated  # scipy: a second

    begin, (experiments, seed) = time.monotonic(), (config.experiments, config.seed)
    found = simulated.calibrate(experiments, seed)
    missed = simulated.find_missed(found)
    data = {
        **found,
        "over_images": simulated.false_positives_over_images(
            simulated.VALIDATION, simulated.Noise(), experiments, seed
        ),
        "missed": missed,
        "tables": {name: fill(table, config) for name, table in TABLES.items()},
        "noise": asdict(simulated.Noise()),
        "experiments": experiments,
        "seed": seed,
        "seconds": round(time.monotonic() - begin, 1),
        **describe_machine(("numpy", "scipy")),
    }
    return Outcome(data=data, text=format_all(data), ok=not missed)


def fill(table: Table, config: SimulateVerdictConfig) -> list[dict[str, Any]]:
    """Simulate the rows of a table."""
    from training.report.simulation import EFFECTS, RUN_SDS, RUNS, TRAINING, VALIDATION, iter_table

    layout = VALIDATION if table.scenes == VALIDATION.scenes else TRAINING
    rows = iter_table(layout, table.arm_scene, config.experiments, config.seed, table.contrasts)
    total = len(RUNS) * len(RUN_SDS) * len(EFFECTS)
    return [flatten(row, table.estimate) for row in track(rows, total=total, unit="rows", label=table.title)]


def flatten(row: "Row", estimate: str) -> dict[str, Any]:
    """Return the setting of a row, and its shares by one of the estimates."""
    setting = row.setting
    return {
        "runs": setting.runs,
        "scenes": setting.layout.scenes,
        "run_sd": setting.noise.run,
        "arm_scene_sd": setting.noise.arm_scene,
        "effect": setting.effect,
        **getattr(row, estimate),
    }


def format_all(data: dict[str, Any]) -> str:
    """Format all tables as Markdown."""
    tables = [format_table(TABLES[name], rows) for name, rows in data["tables"].items()]
    images = f"A t-test over the images of two runs of one arm: {data['over_images']:.2f}."
    missed = "\n".join(f"Missed: {line}" for line in data["missed"]) or "No bound is missed."
    return "\n\n".join([format_rates(data), images, *tables, missed])


def format_rates(data: dict[str, Any]) -> str:
    """Format the rates of false positives as a Markdown table."""
    names = ("aa_these_scenes", "aa_scenes_like_these", "aa_scenes_like_these_arm_scene_10")
    lines = ["**False positives between arms that are the same**", ""]
    lines.append("| runs x scenes | on these scenes | on scenes like these | the same, arm x scene 10 % |")
    lines.append("|---|--:|--:|--:|")
    for design in data[names[0]]:
        rates = " | ".join(f"{data[name][design]:.3f}" for name in names)
        lines.append(f"| {design.replace('x', ' x ')} | {rates} |")
    return "\n".join(lines)


def format_table(table: Table, rows: Sequence[dict[str, Any]]) -> str:
    """Format a design table as Markdown: a line for each number of runs, columns for each noise of the run."""
    columns = [("10 %", 0.1, "better"), ("20 %", 0.2, "better")]
    if table.contrasts == 1:  # equivalence is not adjusted for several contrasts
        columns.append(("equal", 0.0, "equivalent"))
    noises = sorted({row["run_sd"] for row in rows})
    heads = [f"{100 * noise:.0f} %: {head}" for noise in noises for head, _, _ in columns]
    lines = [f"**{table.title}**", "", "| runs | " + " | ".join(heads) + " |", "|--:|" + "--:|" * len(heads)]
    shares = {(row["runs"], row["run_sd"], row["effect"]): row for row in rows}
    for runs in sorted({row["runs"] for row in rows}):
        cells = [shares[runs, noise, effect][relation] for noise in noises for _, effect, relation in columns]
        lines.append(f"| {runs} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/simulate_verdict.py",
    config=SimulateVerdictConfig,
    runner=f"{__name__}:run",
    help="simulate how often the verdict of a comparison is wrong, and how often it finds a difference",
    examples=("scripts/simulate_verdict.py", "scripts/simulate_verdict.py --json > verdict.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
