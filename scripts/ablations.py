"""Measure what each measure of fine-tuning is worth: ResNet-18 from scratch on the toy world, three seeds an arm.

    python scripts/ablations.py --out ablations [--known docs/results/ablations.json] [--json]

Each arm differs from the arm that it names in one measure. A run is trained by the function behind `depthstream
finetune`, with the options of its arm, in a process of its own; two arms give that function a network that lacks a
measure. The last checkpoint is judged on scenes that were not trained on, beside baselines that are fitted for each
metric. A run that is finished in --out, or is in the JSON that an earlier call printed (--known), is not repeated, if
its recipe is that of this call: network, options, seed, views and threads. A run that was interrupted goes on from its
checkpoint. The exit status is 1 if the arm `long` misses a bound.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_bench.arms import ARMS
from learning_bench.finished import Run, check_recipe, read_known
from learning_bench.judging import judge, judge_baselines
from learning_bench.summary import find_missed, format_arms, summarize
from learning_bench.world import World
from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError, UsageError
from sharding.machine.files import write_atomically
from sharding.options import option
from sharding.progress import say
from training.run_files import read_json

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "fastai", "numpy")


@dataclass(frozen=True, kw_only=True)
class AblationsConfig:
    """Options of the program."""

    out: str = option("ablations", "folder of sets and runs; what is finished is kept", metavar="DIR", path="local")
    arms: tuple[str, ...] = option(tuple(ARMS), "arms to train", metavar="ARM")
    seeds: tuple[int, ...] = option((0, 1, 2), "seeds of each arm", metavar="N", least=0)
    images: int = option(1600, "training views of the toy world, of 96 x 128 pixels", metavar="N", least=64)
    known: tuple[str, ...] = option(
        (),
        "JSON of an earlier call, whose runs are taken over; once for each",
        metavar="FILE",
        path="local",
        repeated=True,
    )
    child: str | None = option(None, "only train this arm, with the first of --seeds", metavar="ARM")


def run(config: AblationsConfig) -> Outcome:
    """Train and judge what is not known yet, or train in this process if `child` is given.

    Raises:
        UsageError: There is no such arm, or a finished run is of another recipe.
        DataError: A run failed, or a file of results cannot be read.
    """
    if unknown := sorted({*config.arms, *([config.child] if config.child else [])} - set(ARMS)):
        raise UsageError(f"--arms: expected some of {', '.join(ARMS)}, found {', '.join(unknown)}")
    world = World(folder=Path(config.out) / "world", images=config.images, height=96, width=128)
    if config.child:
        ARMS[config.child].train(world, run_folder(config, config.child, config.seeds[0]), config.seeds[0])
        return Outcome(data={}, text="")
    runs = read_known(config.known, config.images, count_threads())
    world.make()
    for seed in config.seeds:  # all arms of a seed first, so that what is cut off still compares
        for arm in config.arms:
            key = f"{arm}-{seed}"
            if key not in runs:
                runs[key] = found = measure(config, world, arm, seed)
                say(f"{key}: log10 {found['metrics']['log10']:.4f}, abs_rel {found['metrics']['abs_rel']:.4f}")
    return report(config, runs, judge_baselines(world, run_folder(config, "baselines", 0)))


def run_folder(config: AblationsConfig, arm: str, seed: int) -> Path:
    """Return the folder of a run."""
    return Path(config.out) / "runs" / f"{arm}-{seed}"


def count_threads() -> int:
    """Return how many threads torch has here, and so in a child."""
    import torch

    return torch.get_num_threads()


def measure(config: AblationsConfig, world: World, arm: str, seed: int) -> Run:
    """Train a run in a process of its own, judge it, and keep the result beside it.

    Raises:
        UsageError: The result that is there is of another recipe.
        DataError: The run failed.
    """
    folder, threads = run_folder(config, arm, seed), count_threads()
    result = folder.with_suffix(".json")
    if not result.exists():
        say(f"{arm}, seed {seed}: {ARMS[arm].differs}")
        command = [sys.executable, __file__, "--child", arm, "--seeds", str(seed)]
        command += ["--out", config.out, "--images", str(config.images), "--json"]
        if status := subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise DataError(f"{arm}, seed {seed}: ended with status {status}; its message is above")
        recipe = ARMS[arm].describe(seed=seed, images=config.images, threads=threads)
        write_atomically(result, json.dumps({"recipe": recipe, **judge(world, folder, ARMS[arm].model())}).encode())
    found = read_json(result, Run)
    check_recipe(f"{arm}-{seed}", found, config.images, threads, str(result))
    return found


def report(config: AblationsConfig, runs: dict[str, Run], baselines: dict[str, dict[str, float]]) -> Outcome:
    """Summarize the arms, and hold them against their bounds."""
    arms = summarize(runs, baselines)
    missed = find_missed(arms)
    data: dict[str, Any] = {
        "images": config.images,
        "runs": runs,
        "baselines": baselines,
        "arms": arms,
        "missed": missed,
    }
    return Outcome(ok=not missed, data=data | describe_machine(PACKAGES), text=format_arms(arms, baselines, missed))


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
