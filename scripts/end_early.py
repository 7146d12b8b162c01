"""End `depthstream shard` early, at random moments, and see what becomes of it (Linux).

Each end is of a run of its own, half of them from a folder and half from an archive. A fault is a run that does not end
within 30 seconds, a process that is left, an exit status that is not that of its end, and a set that is not the one of
an undisturbed run: a run that ended with 0 must have made that, and so must the same command when it is run again after
each SIGKILL. A full disk is a tmpfs of a random size in a mount namespace (unshare), where that is allowed.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from early_ends.disturbed_run import (
    GONE_S,
    LIMIT_S,
    DisturbedRun,
    do_nothing,
    interrupt_alone,
    kill,
    kill_worker,
    press_ctrl_c,
    press_ctrl_c_twice,
    shard_command,
    terminate,
)
from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError, UsageError
from sharding.options import option
from sharding.progress import say
from sharding.toyworld import make_diode


@dataclass(frozen=True, kw_only=True)
class EndEarlyConfig:
    """Options of the program."""

    count: int = option(100, "ends of each kind", metavar="N")
    workers: int = option(2, "worker processes of each run", metavar="N")
    images: int = option(40, "views in the source, each of 192 x 256 pixels", metavar="N")
    seed: int = option(0, "seed of the moments", metavar="S")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of early end.

    Attributes:
        end: Ends a run.
        statuses: Exit statuses of a run that was ended by it; 0 is right as well if the set is whole.
        resumed: Whether the set is finished by the same command and compared.
    """

    end: Callable[[DisturbedRun, random.Random], None]
    statuses: tuple[int, ...]
    resumed: bool = False


_INTERRUPTED = (
    130,
    -signal.SIGINT,
)  # the second while the interpreter starts or ends; a shell shows 130 for it as well
KINDS = {
    "ctrl_c": Kind(end=press_ctrl_c, statuses=_INTERRUPTED),
    "ctrl_c_twice": Kind(end=press_ctrl_c_twice, statuses=_INTERRUPTED),
    "ctrl_c_alone": Kind(end=interrupt_alone, statuses=_INTERRUPTED),
    "sigterm": Kind(end=terminate, statuses=(143, -signal.SIGTERM)),
    "worker_killed": Kind(end=kill_worker, statuses=(1,)),
    "sigkill": Kind(end=kill, statuses=(-signal.SIGKILL,), resumed=True),
}

ON_SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" || exit 77; shift 2; "$@"'
NO_MOUNT = 77


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source, and what an undisturbed run makes of it.

    Attributes:
        path: The source.
        whole: SHA-256 of each file of its set.
        num_bytes: Size of the set.
        seconds: Time of the run.
    """

    path: Path
    whole: dict[str, str]
    num_bytes: int
    seconds: float


def run(config: EndEarlyConfig) -> Outcome:
    """End runs of every kind.

    Raises:
        UsageError: A number is too small.
        DataError: An undisturbed run fails.
    """
    if min(config.count, config.workers, config.images) < 1:
        raise UsageError("--count, --workers, --images: expected at least 1")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="end-early-") as folder:
        ends = EarlyEnds(config, Path(folder), make_sources(config, Path(folder)))
        figures: dict[str, dict[str, int] | None] = {name: ends.of_kind(name, kind) for name, kind in KINDS.items()}
        figures["full_disk"] = ends.of_full_disk()
    sums = {name: sum(figure[name] for figure in figures.values() if figure) for name in FAULTS}
    data = {"ends": figures, **sums, "faults": ends.faults, "seconds": round(time.monotonic() - began)}
    data |= {"seed": config.seed, **describe_machine(("numpy", "zstandard", "pillow"))}
    return Outcome(data=data, text=_format(figures, ends.faults), ok=not any(sums.values()))


def make_sources(config: EndEarlyConfig, folder: Path) -> list[Source]:
    """Make a folder and an archive of generated views, and the set of each.

    Raises:
        DataError: A run fails.
    """
    make_diode(str(folder / "tree"), images=config.images, height=192, width=256, seed=0)
    make_diode(str(folder / "packed"), images=config.images, height=192, width=256, seed=0, archive=True)
    return [
        measure(path, folder / "whole", config.workers) for path in (folder / "tree", folder / "packed/train.tar.gz")
    ]


def measure(path: Path, target: Path, workers: int) -> Source:
    """Make the set of a source without disturbance, and remove it.

    Raises:
        DataError: The run fails.
    """
    began = time.monotonic()
    made = DisturbedRun(shard_command(path, target, workers), target.with_name("log"))
    if made.wait() != 0:
        raise DataError(f"{path}: expected exit status 0: {made.said}")
    seconds, whole = time.monotonic() - began, hashes(target)
    num_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    shutil.rmtree(target)
    return Source(path=path, whole=whole, num_bytes=num_bytes, seconds=seconds)


FAULTS = ("hangs", "left", "wrong_status", "differing")
"""What can be wrong with an end."""


class EarlyEnds:
    """Ends runs early and counts.

    Args:
        config: Options.
        folder: For sets.
        sources: Taken in turn.

    Attributes:
        faults: A line for each fault.
    """

    def __init__(self, config: EndEarlyConfig, folder: Path, sources: Sequence[Source]) -> None:
        self._config, self._folder, self._sources = config, folder, sources
        self._moments = random.Random(config.seed)
        self.faults: list[str] = []

    def of_kind(self, name: str, kind: Kind) -> dict[str, int]:
        """End runs in this way; return how many ended by it, how many were complete before, and faults."""
        figure = dict.fromkeys(("ended", "complete", *FAULTS), 0)
        for number in range(self._config.count):
            source, target = self._sources[number % len(self._sources)], self._fresh()
            command = shard_command(source.path, target, self._config.workers)
            disturbed = DisturbedRun(command, self._folder / "log")
            moment = self._moments.uniform(0, source.seconds)
            time.sleep(moment)
            kind.end(disturbed, self._moments)
            self._judge(figure, f"{name} after {moment:.3f} s", kind, disturbed, target, source)
            if kind.resumed:
                self._resume(figure, f"{name} after {moment:.3f} s", command, target, source)
        say(f"{name}: {figure}")
        return figure

    def _judge(
        self, figure: dict[str, int], what: str, kind: Kind, disturbed: DisturbedRun, target: Path, source: Source
    ) -> None:
        status = disturbed.wait()
        left = disturbed.left(GONE_S if kind.resumed else 0.0)
        disturbed.clear()
        said = disturbed.said[-300:]
        figure["complete" if status == 0 else "ended"] += 1
        if status is None:
            self._count(figure, "hangs", f"{what}: not ended after {LIMIT_S:.0f} s: {said}")
            return
        if left:
            self._count(figure, "left", f"{what}: {len(left)} processes left, status {status}")
        if status not in (0, *kind.statuses):
            self._count(figure, "wrong_status", f"{what}: status {status}: {said}")
        if status == 0 and hashes(target) != source.whole:
            self._count(figure, "differing", f"{what}: ended with 0, and the set is not whole")

    def _resume(self, figure: dict[str, int], what: str, command: Sequence[str], target: Path, source: Source) -> None:
        again = DisturbedRun(command, self._folder / "log")
        status = again.wait()
        again.clear()
        if status != 0 or hashes(target) != source.whole:
            self._count(figure, "differing", f"{what}: finished with status {status}: {again.said[-300:]}")

    def _count(self, figure: dict[str, int], name: str, fault: str) -> None:
        figure[name] += 1
        self.faults.append(f"{name}: {fault}")
        say(self.faults[-1])

    def of_full_disk(self) -> dict[str, int] | None:
        """Make sets on disks that are too small; None where none can be mounted."""
        figure = dict.fromkeys(("ended", "complete", *FAULTS), 0)
        disk = self._folder / "disk"
        disk.mkdir()
        if not _can_mount(disk):
            say("full_disk: no tmpfs can be mounted here")
            return None
        kind = Kind(end=do_nothing, statuses=(1,))
        for number in range(self._config.count):
            source = self._sources[number % len(self._sources)]
            size = round(self._moments.uniform(0.05, 0.9) * source.num_bytes)
            small = ["unshare", "-rm", "sh", "-c", ON_SMALL_DISK, "sh", str(size), str(disk)]
            command = [*small, *shard_command(source.path, disk / "set", self._config.workers)]
            disturbed = DisturbedRun(command, self._folder / "log")
            # The disk is gone with its namespace, and no set fits on it: one that is said to be made differs.
            self._judge(figure, f"full_disk of {size} bytes", kind, disturbed, disk / "set", source)
        say(f"full_disk: {figure}")
        return figure

    def _fresh(self) -> Path:
        shutil.rmtree(self._folder / "set", ignore_errors=True)
        return self._folder / "set"


def _can_mount(disk: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "sh", "-c", ON_SMALL_DISK, "sh", "100k", str(disk), "true"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {os.fspath(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _format(figures: dict[str, Any], faults: Sequence[str]) -> str:
    rows = [f"{name:14} {figure or 'not possible here'}" for name, figure in figures.items()]
    return "\n".join([*rows, *faults])


COMMAND = Command(
    name="scripts/end_early.py",
    config=EndEarlyConfig,
    runner=f"{__name__}:run",
    help="end `depthstream shard` early at random moments, and count hangs, processes left and sets that differ",
    examples=("scripts/end_early.py --json > end-early.json", "scripts/end_early.py --count 5"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
