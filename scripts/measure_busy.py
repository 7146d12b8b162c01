"""Measure what a CPU training step costs beside other busy processes, and which setting of OpenMP helps.

On a machine with as many busy processes as cores, the threads of a step wait for each other while the kernel runs
something else, and by default they wait in a loop, which keeps the core busy for nothing. Each setting is measured in a
process of its own, in turn, beside 0, 1 and 2 processes that count. A step is forward and backward of a small U-Net.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError
from sharding.options import option
from sharding.progress import say

DEFAULT = "default"
SETTINGS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1e4": {"GOMP_SPINCOUNT": "10000"},
    "1 thread": {"OMP_NUM_THREADS": "1"},
}
"""Environment of each setting; unset for what it does not name."""

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "KMP_BLOCKTIME")
BUSY = "while True: pass"


@dataclass(frozen=True, kw_only=True)
class MeasureBusyConfig:
    """Options of the measurement."""

    steps: int = option(12, "steps of a process; the first two warm up", metavar="N", least=3)
    repeats: int = option(3, "processes of each setting", metavar="N", least=1)
    beside: tuple[int, ...] = option((0, 1, 2), "numbers of busy processes", metavar="N", least=0, most=64)
    height: int = option(48, "height of the images in pixels", metavar="PX", least=33)
    width: int = option(64, "width of the images in pixels", metavar="PX", least=33)
    batch_size: int = option(8, "images of a step", metavar="N", least=1)
    only_step: bool = option(False, "only take the steps, in this process, and print their times")


def run(config: MeasureBusyConfig) -> Outcome:
    """Measure all settings beside each number of busy processes.

    Raises:
        DataError: A process failed.
    """
    if config.only_step:
        return Outcome(data=take_steps(config), text="")
    rows = []
    for beside in config.beside:
        with busy_processes(beside):
            times: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
            for _ in range(config.repeats):
                for name in SETTINGS:  # in turn, so that what changes meanwhile changes all
                    times[name].append(_apart(config, SETTINGS[name]))
        rows += [_row(name, beside, found, times[DEFAULT]) for name, found in times.items()]
        say(_table(rows[-len(SETTINGS) :]))
    data = {"rows": rows} | describe_machine(("torch", "torchvision", "fastai"))
    return Outcome(data=data, text=_table(rows))


def take_steps(config: MeasureBusyConfig) -> dict[str, float]:
    """Take the steps; return the median of their wall clock and CPU times in ms, without the first two."""
    import torch

    from training.finetuning.finetune import init_model

    unet = init_model("none", "resnet18")
    images = torch.rand(config.batch_size, 3, config.height, config.width)
    wall, on_cpu = [], []
    for _ in range(config.steps):
        begin, used = time.perf_counter(), time.process_time()
        unet(images).square().mean().backward()
        wall.append(1000 * (time.perf_counter() - begin))
        on_cpu.append(1000 * (time.process_time() - used))
    return {"wall_ms": statistics.median(wall[2:]), "cpu_ms": statistics.median(on_cpu[2:])}


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _apart(config: MeasureBusyConfig, setting: dict[str, str]) -> dict[str, float]:
    given = {"steps": config.steps, "height": config.height, "width": config.width, "batch-size": config.batch_size}
    sizes = [f"--{name}={value}" for name, value in given.items()]
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, __file__, "--json", "--only-step", *sizes]
    done = subprocess.run(command, env=clean | setting, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise DataError(f"--only-step: expected exit status 0, found {done.returncode}; its own message is above")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _row(
    name: str, beside: int, found: Sequence[dict[str, float]], default: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Summarise a setting: medians, and its wall clock over the default's of the same turn."""
    ratios = [one["wall_ms"] / other["wall_ms"] for one, other in zip(found, default, strict=True)]
    return {
        "setting": name,
        "beside": beside,
        "wall_ms": statistics.median(one["wall_ms"] for one in found),
        "cpu_ms": statistics.median(one["cpu_ms"] for one in found),
        "over_default": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'beside':>6} {'setting':10} {'wall ms':>9} {'CPU ms':>9} {'wall over default':>24}"]
    for row in rows:
        ratio = row["over_default"]
        spread = f"{ratio['median']:.2f} ({ratio['min']:.2f} - {ratio['max']:.2f})"
        lines.append(f"{row['beside']:6} {row['setting']:10} {row['wall_ms']:9.1f} {row['cpu_ms']:9.1f} {spread:>24}")
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/measure_busy.py",
    config=MeasureBusyConfig,
    runner=f"{__name__}:run",
    help="measure a CPU training step beside busy processes, by setting of OpenMP",
    examples=("scripts/measure_busy.py", "scripts/measure_busy.py --repeats 5 --json > busy.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
