"""The command `demo`: every step on generated data, by the commands a user would type.

Each stage is a command of its own, shown before it runs. A finished stage is not run again, so an interrupted demo
continues at the stage it was in.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding.cli import Outcome
from sharding.errors import DataError
from sharding.format.manifest import MANIFEST_NAME
from sharding.machine.safe_path import safe_path_in_children
from sharding.progress import say
from training.config import DemoConfig
from training.runfolder import ENCODER_NAME

ARMS = ("conservative", "aggressive", "scratch")
OUTDOOR = "scene_type == 'outdoor'"

# Sized for two CPU cores and ten minutes, by measurement: see docs/results.
VIEWS = "--height 64 --width 96"
PRETRAIN = "--model torchvision/resnet18 --method simclr --epochs 3 --batch-size 32 --image-size 48"
FINETUNE = "--encoder-name resnet18 --height 48 --width 64 --epochs 4 --batch-size 8 --learning-rate 1e-3"
MACHINE = "--num-workers 0 --devices 1 --accelerator cpu"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of the demo.

    Attributes:
        title: What it does, for the user.
        arguments: Arguments of the command `depthstream`.
        done: Returns whether its result already exists.
    """

    title: str
    arguments: tuple[str, ...]
    done: Callable[[], bool]


def run(config: DemoConfig) -> Outcome:
    """Run `depthstream demo`."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    stages = plan(out, config.seed)
    for number, stage in enumerate(stages, start=1):
        _run_stage(stage, f"[{number}/{len(stages)}]", begin)
    files = {
        "report": out / "report.html",
        "training views": out / "diode-train.png",
        "photographs": out / "megadepth.png",
    }
    lines = [
        f"Done in {time.monotonic() - begin:.0f} s. Open:",
        *(f"  {path}  ({title})" for title, path in files.items()),
    ]
    lines.append(f"  tensorboard --logdir {out / 'runs'}  (curves and panels of every run)")
    return Outcome(data={"out": str(out), **{title: str(path) for title, path in files.items()}}, text="\n".join(lines))


def plan(out: Path, seed: int) -> list[Stage]:
    """List all stages in order: data, sets, pretraining, fine-tuning, report."""
    place = shlex.quote(str(out))
    toy, sets, runs = f"{place}/toy", f"{place}/sets", f"{place}/runs"
    return [*_data_stages(toy, seed), *_set_stages(place, toy, sets), *_learning_stages(place, sets, runs, seed)]


def _data_stages(toy: str, seed: int) -> list[Stage]:
    """List the stages that generate both data sets in their published layouts."""
    return [
        _stage(
            "generate 192 photographs",
            f"toyworld {toy}/megadepth --layout megadepth --images 192 --seed {seed} {VIEWS}",
            f"{toy}/megadepth/phoenix",
        ),
        _stage(
            "generate 160 training and 32 validation views with depth",
            f"toyworld {toy}/diode --layout diode --images 160 --seed {seed} {VIEWS}",
            f"{toy}/diode/val",
        ),
    ]


def _set_stages(place: str, toy: str, sets: str) -> list[Stage]:
    """List the stages that shard both data sets, verify the sets, and draw samples of them."""
    commands = {
        "megadepth": f"shard megadepth {toy}/megadepth {sets}/megadepth --shard-size 200KB",
        "diode-train": f"shard diode {toy}/diode {sets}/diode-train --split train --shard-size 2MB",
        "diode-val": f"shard diode {toy}/diode {sets}/diode-val --split val --shard-size 2MB",
    }
    stages = [_stage(f"shard {name}", command, f"{sets}/{name}/{MANIFEST_NAME}") for name, command in commands.items()]
    stages += [_stage(f"verify {name}", f"verify {sets}/{name}") for name in commands]
    for name in ("megadepth", "diode-train"):
        grid = f"{place}/{name}.png"
        stages.append(_stage(f"look at {name}", f"inspect {sets}/{name} --grid {grid}", grid))
    return stages


def _learning_stages(place: str, sets: str, runs: str, seed: int) -> list[Stage]:
    """List stages that pretrain two encoders, fine-tune three arms that differ only in the encoder, compare them."""
    run = f"{MACHINE} --seed {seed} --resume"
    views = f'{sets}/diode-train --val {sets}/diode-val --where "{OUTDOOR}"'
    encoders = {arm: f"{runs}/pretrain-{arm}" for arm in ARMS[:2]} | {"scratch": "none"}
    stages = [
        _stage(
            f"pretrain an encoder, {arm} augmentation",
            f"pretrain {sets}/megadepth --out {encoders[arm]} --augmentation {arm} {PRETRAIN} {run}",
            f"{encoders[arm]}/{ENCODER_NAME}",
        )
        for arm in ARMS[:2]
    ]
    for arm in ARMS:
        command = f"finetune {views} --out {runs}/{arm} --encoder {encoders[arm]} {FINETUNE} {run}"
        stages.append(_stage(f"fine-tune for depth, {arm}", command))
    arms = " ".join(f"{runs}/{arm}" for arm in ARMS)
    stages.append(_stage("compare", f"compare {arms} --out {place}/report.html --accelerator cpu --num-workers 0"))
    return stages


def _stage(title: str, command: str, result: str | None = None) -> Stage:
    """Make a stage from its command line; it is done when the file `result` exists, never without one."""
    files = [Path(name) for name in shlex.split(result or "")]
    return Stage(title=title, arguments=tuple(shlex.split(command)), done=lambda: bool(files) and files[0].exists())


def _run_stage(stage: Stage, number: str, begin: float) -> None:
    """Run one command; its output goes where that of the demo goes.

    Raises:
        DataError: The command failed.
    """
    if stage.done():
        say(f"{number} {stage.title}: done before")
        return
    say(f"{number} {stage.title}   (after {time.monotonic() - begin:.0f} s)")
    say(f"  $ depthstream {shlex.join(stage.arguments)}")
    call(stage.arguments)


def call(arguments: Sequence[str], stdout: int | None = None) -> bytes | None:
    """Run a command of `depthstream` in a process of its own.

    Args:
        arguments: Those of the command.
        stdout: Where its stdout goes, as for `subprocess.run`; by default where that of this process goes.

    Returns:
        What it wrote, if `stdout` is `subprocess.PIPE`.

    Raises:
        DataError: The command failed.
    """
    with safe_path_in_children():  # no `training.py` of the current folder
        done = subprocess.run([sys.executable, "-m", "training", *arguments], stdout=stdout, check=False)
    if done.returncode != 0:
        raise DataError(
            f"`depthstream {shlex.join(arguments)}` ended with status {done.returncode}; its message is above"
        )
    return done.stdout
