"""Check the verdicts of `compare` on runs whose truth is known: nine runs on the toy world, seeds 0 to 8.

    python scripts/toy_verdicts.py --out toy-verdicts [--json]

Arms `one` and `other` are the same options with other seeds: neither is better. Arm `slow` has a tenth of the learning
rate: it must be worse on these scenes. Arm `near` is `one` with all predictions multiplied by 0.8, which lowers abs_rel
where a network overestimates: it must not be better. The folder keeps finished runs; the same command goes on.
"""

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_bench.commands import call, quoted
from learning_bench.world import OUTDOOR, World
from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.options import option

# Fixed before the first run.
SEEDS = {"one": (0, 1, 2), "other": (3, 4, 5), "slow": (6, 7, 8)}
LEARNING_RATES = {"one": 1e-3, "other": 1e-3, "slow": 1e-4}
CONTRASTS = (("one", "other"), ("slow", "one"), ("near", "one"))
FINETUNE = "--encoder-name resnet18 --height 48 --width 64 --epochs 4 --batch-size 8 --num-workers 0 --devices 1"
NEARER = 0.8
"""Factor of the predictions of the arm `near`."""

PACKAGES = ("torch", "pytorch-lightning", "fastai", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class ToyVerdictsConfig:
    """Options of the program."""

    out: str = option("toy-verdicts", "folder of sets and runs; what is finished is kept", metavar="DIR", path="local")


def run(config: ToyVerdictsConfig) -> Outcome:
    """Train what is not trained yet, compare, and hold the verdicts against the truth."""
    out = Path(config.out)
    world = World(folder=out / "world", images=160, height=64, width=96)
    world.make()
    arms = {arm: [train(world, out / f"{arm}-{seed}", arm, seed) for seed in seeds] for arm, seeds in SEEDS.items()}
    arms["near"] = [bring_nearer(one, out / one.name.replace("one", "near")) for one in arms["one"]]
    found = compare(arms, out / "report.html")
    verdicts = {f"{one['a']}:{one['b']}": one for one in found["contrasts"]}
    missed = find_missed(verdicts)
    data = {"contrasts": found["contrasts"], "missed": missed, "verdict": found["verdict"]}
    return Outcome(ok=not missed, data=data | describe_machine(PACKAGES), text="\n".join([*found["verdict"], *missed]))


def train(world: World, run_folder: Path, arm: str, seed: int) -> Path:
    """Train a run, or what is left of it."""
    call(
        f'finetune {quoted(world.train)} --val {quoted(world.val)} --where "{OUTDOOR}" --out {quoted(run_folder)} '
        f"{FINETUNE} --accelerator cpu --learning-rate {LEARNING_RATES[arm]} --seed {seed} --resume"
    )
    return run_folder


def bring_nearer(run_folder: Path, copy: Path) -> Path:
    """Copy a run, with a checkpoint whose predictions are `NEARER` times as far."""
    import torch

    shutil.copytree(run_folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("evaluation-*", "tensorboard"))
    file = copy / "checkpoints" / "last.ckpt"
    content = torch.load(run_folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    content["hyper_parameters"]["log_depth_mean"] += math.log(NEARER)  # it is added to the output, the log of depth
    torch.save(content, file)
    return copy


def compare(arms: dict[str, list[Path]], report: Path) -> dict[str, Any]:
    """Compare the arms by the command."""
    named = " ".join(f"--arm {arm}={','.join(map(quoted, runs))}" for arm, runs in arms.items())
    contrasts = ",".join(f"{a}:{b}" for a, b in CONTRASTS)
    return call(f"compare {named} --contrasts {contrasts} --out {quoted(report)} --accelerator cpu --num-workers 0")


def find_missed(verdicts: dict[str, Any]) -> list[str]:
    """List the verdicts that are not those of the truth."""
    found = {
        (name, kind): verdicts[name][kind]["relation"]
        for name in verdicts
        for kind in ("these_scenes", "scenes_like_these")
    }
    bounds = [
        *(("one:other", kind, ("equivalent", "undecided")) for kind in ("these_scenes", "scenes_like_these")),
        ("slow:one", "these_scenes", ("worse",)),
        *(("near:one", kind, ("worse", "equivalent", "undecided")) for kind in ("these_scenes", "scenes_like_these")),
    ]
    return [
        f"{name}, {kind}: expected {' or '.join(expected)}, found {found[name, kind]}"
        for name, kind, expected in bounds
        if found[name, kind] not in expected
    ]


COMMAND = Command(
    name="scripts/toy_verdicts.py",
    config=ToyVerdictsConfig,
    runner=f"{__name__}:run",
    help="check the verdicts of compare on runs whose truth is known",
    examples=("scripts/toy_verdicts.py --out toy-verdicts --json > toy-verdicts.json",),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
