"""Kill training runs with SIGKILL at random moments, resume them each time, and compare with an undisturbed run.

A moment is a time after the process has reported its first checkpoint or resume point, so it may be in a step, in the
loading of a batch, in the writing of a checkpoint or between any of them; every fifth is within the start instead. All
processes of a run are killed at once. A run that finishes is compared, and the next one begins, until there were enough
kills. Compared are every tensor of the last checkpoint (weights, statistics, optimizer), the schedule, the place, and
`encoder.pt` of pretrain.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError
from sharding.options import argument, option
from sharding.progress import say

PACKAGES = ("torch", "pytorch-lightning", "lightly-train", "numpy")
LIMIT_S = 900
"""Longest time that a run may take to its first checkpoint, or to its end once it is left alone."""


@dataclass(frozen=True, kw_only=True)
class KillTrainingConfig:
    """Options of the program."""

    trainer: Literal["finetune", "pretrain"] = argument("finetune or pretrain")
    kills: int = option(50, "how many times to kill", metavar="N", least=1)
    epochs: int = option(20, "epochs of a run, of four steps each", metavar="N", least=2)
    num_workers: int = option(2, "loader workers", metavar="N", least=0)
    within: float = option(4.0, "a kill comes so long after the first checkpoint at most", metavar="SECONDS", above=0)
    seed: int = option(0, "seed of the moments", metavar="N")
    child: str | None = option(None, "only train the small network of finetune, in this folder", metavar="RUN")
    sets: str | None = option(None, "folder of the sets, for --child", metavar="DIR")


def run(config: KillTrainingConfig) -> Outcome:
    """Kill and resume, or train in this process if `child` is given.

    Raises:
        DataError: A run failed other than by a kill.
    """
    if config.child is not None:
        return train_small(config, Path(config.child))
    with tempfile.TemporaryDirectory(prefix="kill-training-") as folder:
        runs = Runs(config, Path(folder))
        runs.make_sets()
        runs.finish(runs.folder / "undisturbed")
        kinds: Counter[str] = Counter()
        same: list[bool] = []
        dice = random.Random(config.seed)
        while sum(kinds.values()) < config.kills:
            out = runs.folder / f"killed-{len(same)}"
            kinds.update(runs.kill_until_finished(out, config.kills - sum(kinds.values()), dice))
            same.append(runs.is_same(out))
            say(
                f"{config.trainer}: {sum(kinds.values())} of {config.kills} kills, {sum(same)} of {len(same)} identical"
            )
    text = f"{sum(same)} of {len(same)} runs identical after {sum(kinds.values())} kills: {dict(kinds)}"
    data = {"trainer": config.trainer, "kills": sum(kinds.values()), "moments": dict(kinds)}
    data |= {"runs": len(same), "identical": sum(same)}
    return Outcome(
        ok=all(same),
        data=data | describe_machine(PACKAGES),
        text=f"{config.trainer}: {text}",
    )


class Runs:
    """Runs of one command in a folder.

    Args:
        config: Options of the program.
        folder: Folder for sets and runs.
    """

    def __init__(self, config: KillTrainingConfig, folder: Path) -> None:
        self.folder, self._config = folder, config

    def make_sets(self) -> None:
        """Generate views and make the sets."""
        source, layout = self.folder / "views", "diode" if self._config.trainer == "finetune" else "megadepth"
        self._depthstream("toyworld", source, "--layout", layout, "--images", 40, "--height", 64, "--width", 96)
        if layout == "megadepth":
            self._depthstream("shard", "megadepth", source, self.folder / "train")
            return
        for split in ("train", "val"):
            self._depthstream("shard", "diode", source, self.folder / split, "--split", split)

    def _depthstream(self, *words: object) -> None:
        subprocess.run([sys.executable, "-m", "training", *map(str, words)], check=True, stdout=sys.stderr)

    def finish(self, out: Path) -> None:
        """Let a run go on to its end.

        Raises:
            DataError: It failed, or takes too long.
        """
        with self._started(out) as process:
            if process.wait(LIMIT_S) != 0:
                raise DataError(f"a run failed with status {process.returncode}: {_end_of_log(out)}")

    def kill_until_finished(self, out: Path, most: int, dice: random.Random) -> Iterator[str]:
        """Kill a run again and again, `most` times at most, and let it finish; yield what each kill hit."""
        for number in range(most):
            if (kind := self._kill(out, number % 5 == 4, dice)) is None:
                return
            yield kind
        self.finish(out)

    def _kill(self, out: Path, early: bool, dice: random.Random) -> str | None:
        """Start or resume a run and kill it; return what it was doing, None if it had finished."""
        with self._started(out) as process:
            begun, seen = time.monotonic(), len(_log(out))
            if not early:
                self._await_place(process, out, seen)
            moment = time.monotonic() + dice.uniform(0, self._config.within)
            while process.poll() is None and time.monotonic() < moment:
                time.sleep(0.001)
            if process.poll() == 0:
                return None
            if process.returncode is not None:
                raise DataError(f"a run failed with status {process.returncode}: {_end_of_log(out)}")
            _end(process)
        if list((out / "checkpoints").glob(".*.tmp")):
            return "writing a checkpoint"
        say(f"killed after {time.monotonic() - begun:.1f} s")
        return "start" if early else "training"

    def _await_place(self, process: "subprocess.Popen[bytes]", out: Path, seen: int) -> None:
        """Wait until a run has reported a checkpoint, read or written, or ended."""
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            if any(line.startswith(("resume: ", "saved ")) for line in _log(out)[seen:].splitlines()):
                return
            time.sleep(0.005)

    @contextlib.contextmanager
    def _started(self, out: Path) -> "Iterator[subprocess.Popen[bytes]]":
        words = self._finetune(out) if self._config.trainer == "finetune" else self._pretrain(out)
        with Path(f"{out}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *map(str, words)], stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            _end(process)

    def _finetune(self, out: Path) -> list[object]:
        options = ["--epochs", self._config.epochs, "--num-workers", self._config.num_workers]
        return [__file__, "finetune", "--child", out, "--sets", self.folder, *options]

    def _pretrain(self, out: Path) -> list[object]:
        options: dict[str, object] = {"model": "torchvision/shufflenet_v2_x0_5", "method": "simclr", "image-size": 32}
        options |= {"epochs": self._config.epochs, "batch-size": 10, "num-workers": self._config.num_workers}
        options |= {"checkpoint-every": "3steps", "accelerator": "cpu", "devices": 1, "out": out}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return ["-m", "training", "pretrain", self.folder / "train", *words, "--deterministic", "--resume"]

    def is_same(self, out: Path) -> bool:
        """Tell whether a run ended exactly as the undisturbed one."""
        ends = [read_end(one, self._config.trainer) for one in (self.folder / "undisturbed", out)]
        return equal(*ends)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def _log(out: Path) -> str:
    return Path(f"{out}.log").read_text(errors="replace")


def _end_of_log(out: Path) -> str:
    return _log(out)[-2000:]


def train_small(config: KillTrainingConfig, out: Path) -> Outcome:
    """Fine-tune a network with all that could depend on the past: BatchNorm, dropout, drop-path."""
    import torch
    from torch import nn
    from torchvision.ops import StochasticDepth

    from training.config import FinetuneConfig
    from training.finetuning.finetune import train

    def make() -> nn.Module:
        torch.manual_seed(0)
        first = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)]
        return nn.Sequential(*first, StochasticDepth(0.1, "row"), nn.Conv2d(8, 1, 3, padding=1))

    options: dict[str, Any] = {"height": 48, "width": 48, "batch_size": 10, "micro_batch": "5", "devices": "1"}
    sets = Path(config.sets or ".")
    return train(
        FinetuneConfig(
            set=str(sets / "train"),
            val=str(sets / "val"),
            out=str(out),
            epochs=config.epochs,
            num_workers=config.num_workers,
            checkpoint_every="3steps",
            accelerator="cpu",
            deterministic=True,
            resume=True,
            encoder_name="resnet18",
            **options,
        ),
        make,
    )


def read_end(out: Path, trainer: str) -> list[Any]:
    """Read what a finished run has left: of the last checkpoint all but times and paths, and the encoder."""
    from training.checkpoint.counter import saved_state
    from training.checkpoint.saved_run import read_saved_run
    from training.network.encoder_file import read_state

    last = read_saved_run(out / "checkpoints" / "last.ckpt")
    names = ("state_dict", "optimizer_states", "lr_schedulers", "global_step")
    return [
        [last[name] for name in names],
        saved_state(last).to_dict(),
        read_state(out / "encoder.pt") if trainer == "pretrain" else None,
    ]


def equal(one: Any, other: Any) -> bool:
    """Compare bit for bit, through dicts and lists."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


COMMAND = Command(
    name="scripts/kill_training.py",
    config=KillTrainingConfig,
    runner=f"{__name__}:run",
    help="kill training runs at random moments, resume them, and compare them with an undisturbed one",
    examples=("scripts/kill_training.py finetune", "scripts/kill_training.py pretrain --json > killed-pretrain.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
