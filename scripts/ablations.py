"""Measure what each measure of fine-tuning is worth: ResNet-18 from scratch on the toy world, three seeds an arm.

    python scripts/ablations.py --out ablations [--known docs/results/ablations.json] [--json]

Each arm differs from another in one measure. A run is a real `finetune`; the last checkpoint is judged on scenes that
were not trained on, beside baselines that are fitted for each metric. Runs that are finished in --out, or are in the
JSON of an earlier call (--known), are not repeated, and a run that was interrupted goes on from its checkpoint.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_bench.arms import ARMS
from learning_bench.judging import judge, judge_baselines
from learning_bench.world import World
from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError, UsageError
from sharding.options import option
from sharding.progress import say

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "fastai", "numpy")
SHOWN = ("log10", "abs_rel", "rmse", "silog", "delta1")


@dataclass(frozen=True, kw_only=True)
class AblationsConfig:
    """Options of the program."""

    out: str = option("ablations", "folder of sets and runs; what is finished is kept", metavar="DIR", path="local")
    arms: tuple[str, ...] = option(tuple(ARMS), "arms to train", metavar="ARM")
    seeds: tuple[int, ...] = option((0, 1, 2), "seeds of each arm", metavar="N", least=0)
    images: int = option(1600, "training views of the toy world, of 96 x 128 pixels", metavar="N", least=64)
    known: str | None = option(None, "JSON of an earlier call, whose runs are taken over", metavar="FILE", path="local")
    child: str | None = option(None, "only train this arm, with the first of --seeds", metavar="ARM")


def run(config: AblationsConfig) -> Outcome:
    """Train and judge what is not known yet, or train in this process if `child` is given.

    Raises:
        UsageError: There is no such arm.
        DataError: A run failed.
    """
    if unknown := sorted({*config.arms, *([config.child] if config.child else [])} - set(ARMS)):
        raise UsageError(f"--arms: expected some of {', '.join(ARMS)}, found {', '.join(unknown)}")
    world = World(folder=Path(config.out) / "world", images=config.images, height=96, width=128)
    if config.child:
        ARMS[config.child].train(world, run_folder(config, config.child, config.seeds[0]), config.seeds[0])
        return Outcome(data={}, text="")
    world.make()
    runs = read_known(config)
    for seed in config.seeds:  # all arms of a seed first, so that what is cut off still compares
        for arm in config.arms:
            key = f"{arm}-{seed}"
            if key not in runs:
                runs[key] = measure(config, world, arm, seed)
                say(f"{key}: log10 {runs[key]['metrics']['log10']:.4f}, abs_rel {runs[key]['metrics']['abs_rel']:.4f}")
    baselines = judge_baselines(world, run_folder(config, "baselines", 0))
    data: dict[str, Any] = {
        "images": config.images,
        "runs": runs,
        "baselines": baselines,
        "arms": summarize(runs, baselines),
    }
    return Outcome(data=data | describe_machine(PACKAGES), text=format_arms(data["arms"], baselines))


def run_folder(config: AblationsConfig, arm: str, seed: int) -> Path:
    """Return the folder of a run."""
    return Path(config.out) / "runs" / f"{arm}-{seed}"


def read_known(config: AblationsConfig) -> dict[str, Any]:
    """Read the runs of an earlier call, of the same views.

    Raises:
        UsageError: They are of other views.
    """
    if config.known is None or not Path(config.known).exists():
        return {}
    content = json.loads(Path(config.known).read_text())
    if content["images"] != config.images:
        raise UsageError(f"--known {config.known}: expected {config.images} images, found {content['images']}")
    known: dict[str, Any] = content["runs"]
    return known


def measure(config: AblationsConfig, world: World, arm: str, seed: int) -> dict[str, Any]:
    """Train a run in a process of its own, judge it, and keep the result beside it.

    Raises:
        DataError: It failed.
    """
    folder = run_folder(config, arm, seed)
    result = folder.with_suffix(".json")
    if not result.exists():
        say(f"{arm}, seed {seed}: {ARMS[arm].differs}")
        command = [sys.executable, __file__, "--child", arm, "--seeds", str(seed)]
        command += ["--out", config.out, "--images", str(config.images), "--json"]
        if status := subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise DataError(f"{arm}, seed {seed}: ended with status {status}; its message is above")
        result.write_text(json.dumps(judge(world, folder, ARMS[arm].model())))
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def summarize(runs: dict[str, Any], baselines: dict[str, Any]) -> dict[str, Any]:
    """Compute mean, least and most of each metric over the seeds of an arm, and the mean over the row baseline's."""
    found = {}
    for arm, recipe in ARMS.items():
        of_arm = [one for key, one in runs.items() if key.rpartition("-")[0] == arm]
        if of_arm:
            found[arm] = {
                "differs": recipe.differs,
                "runs": len(of_arm),
                "seconds": statistics.mean(one["seconds"] for one in of_arm),
                "metrics": {name: spread([one["metrics"][name] for one in of_arm]) for name in SHOWN},
                "over_row": {
                    name: statistics.mean(one["metrics"][name] for one in of_arm) / baselines["row"][name]
                    for name in SHOWN
                },
            }
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean, least and most."""
    return {"mean": statistics.mean(values), "least": min(values), "most": max(values)}


def format_arms(arms: dict[str, Any], baselines: dict[str, Any]) -> str:
    """Format a table: mean (least - most) of each metric."""
    lines = [f"{'arm':<16}{'runs':>5}" + "".join(f"{name:>26}" for name in SHOWN)]
    for name, arm in arms.items():
        cells = [arm["metrics"][metric] for metric in SHOWN]
        shown = [f"{cell['mean']:.3f} ({cell['least']:.3f} - {cell['most']:.3f})" for cell in cells]
        lines.append(f"{name:<16}{arm['runs']:>5}" + "".join(f"{cell:>26}" for cell in shown))
    for name, values in baselines.items():
        lines.append(f"{name:<16}{'':>5}" + "".join(f"{values[metric]:>26.3f}" for metric in SHOWN))
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/ablations.py",
    config=AblationsConfig,
    runner=f"{__name__}:run",
    help="measure what each measure of fine-tuning is worth, on the toy world",
    examples=(
        "scripts/ablations.py --out ablations --json > ablations.json",
        "scripts/ablations.py --out ablations --arms long --seeds 0 1 2",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
