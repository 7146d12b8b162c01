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
class Design:
    """What is simulated for a design table, or two.

    Attributes:
        scenes: Number of scenes.
        arm_scene: Standard deviation of arm x scene.
        folds: Networks of a run, each with a noise of its own.
    """

    scenes: int
    arm_scene: float
    folds: int = 1


@dataclass(frozen=True, kw_only=True)
class Table:
    """A design table.

    Attributes:
        title: Its heading.
        design: Name of its design.
        estimate: Field of `Row` that it shows.
        contrasts: Number of contrasts in the study.
    """

    title: str
    design: str
    estimate: str
    contrasts: int = 1


DESIGNS = {
    "these_3": Design(scenes=3, arm_scene=0.0),
    "like_3": Design(scenes=3, arm_scene=0.05),
    "like_12": Design(scenes=12, arm_scene=0.05),
    "like_12_folds": Design(scenes=12, arm_scene=0.05, folds=4),
}

_OF_SIX = "a contrast held against 0.05 / 6"
TABLES = {
    "these_3": Table(title="On these three scenes", design="these_3", estimate="these_scenes"),
    "these_3_six_contrasts": Table(
        title=f"On these three scenes, {_OF_SIX}", design="these_3", estimate="these_scenes", contrasts=6
    ),
    "like_3": Table(title="On scenes like three", design="like_3", estimate="scenes_like_these"),
    "like_12": Table(title="On scenes like twelve, one noise a run", design="like_12", estimate="scenes_like_these"),
    "like_12_six_contrasts": Table(
        title=f"On scenes like twelve, one noise a run, {_OF_SIX}",
        design="like_12",
        estimate="scenes_like_these",
        contrasts=6,
    ),
    "like_12_folds": Table(
        title="On scenes like twelve, four folds with a noise of their own",
        design="like_12_folds",
        estimate="scenes_like_these",
    ),
    "like_12_folds_six_contrasts": Table(
        title=f"On scenes like twelve, four folds with a noise of their own, {_OF_SIX}",
        design="like_12_folds",
        estimate="scenes_like_these",
        contrasts=6,
    ),
}


def run(config: SimulateVerdictConfig) -> Outcome:
    """Simulate the bounded shares and the design tables."""
    from training.report import simulation as simulated  # scipy: a second

    begin, (experiments, seed) = time.monotonic(), (config.experiments, config.seed)
    found = simulated.calibrate(experiments, seed)
    missed = simulated.find_missed(found)
    rows = {name: simulate_rows(name, design, config) for name, design in DESIGNS.items()}
    data = {
        **found,
        "over_images": simulated.false_positives_over_images(
            simulated.VALIDATION, simulated.Noise(), experiments, seed
        ),
        "missed": missed,
        "tables": {name: fill(table, rows[table.design]) for name, table in TABLES.items()},
        "noise": asdict(simulated.Noise()),
        "experiments": experiments,
        "seed": seed,
        "seconds": round(time.monotonic() - begin, 1),
        **describe_machine(("numpy", "scipy")),
    }
    return Outcome(data=data, text=format_all(data), ok=not missed)


def simulate_rows(name: str, design: Design, config: SimulateVerdictConfig) -> list["Row"]:
    """Simulate the rows of a design."""
    from training.report.simulation import EFFECTS, RUN_SDS, RUNS, TRAINING, VALIDATION, iter_table

    layout = VALIDATION if design.scenes == VALIDATION.scenes else TRAINING
    rows = iter_table(layout, design.arm_scene, config.experiments, config.seed, design.folds)
    return list(track(rows, total=len(RUNS) * len(RUN_SDS) * len(EFFECTS), unit="rows", label=name))


def fill(table: Table, rows: Sequence["Row"]) -> list[dict[str, Any]]:
    """Return what a table shows of the rows of its design: the setting of each, and its shares."""
    return [
        {
            "runs": row.setting.runs,
            "scenes": row.setting.layout.scenes,
            "folds": row.setting.folds,
            "run_sd": row.setting.noise.run,
            "arm_scene_sd": row.setting.noise.arm_scene,
            "effect": row.setting.effect,
            **getattr(row, table.estimate)[table.contrasts],
        }
        for row in rows
    ]


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
