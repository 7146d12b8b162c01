"""Measure what it saves to keep freed memory (`sharding.machine.heap`), with alternating processes that do and do not.

Each process reads two epochs of a local set through the fine-tuning loader, with one worker; the second is measured.
A worker passes its batches on in shared memory, whose pages are new for each batch in both cases.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe_machine
from process_stat import read_stat

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError, UsageError
from sharding.options import option
from sharding.progress import say

NOT_KEPT = {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}
"""Has no effect on glibc itself (0 is its default), but makes `keep_freed_memory` leave the heap alone."""

PACKAGES = ("torch", "numpy", "zstandard", "opencv-python-headless", "pillow")


@dataclass(frozen=True, kw_only=True)
class MeasureHeapConfig:
    """Options of the measurement."""

    samples: int = option(96, "views in the set", metavar="N")
    height: int = option(768, "height of the views, and side of the square crops", metavar="PX")
    width: int = option(1024, "width of the views", metavar="PX")
    batch_size: int = option(8, "samples of a batch", metavar="N")
    repeats: int = option(5, "pairs of processes", metavar="N")
    read: str | None = option(None, "only read this set, in this process, and print its figures", metavar="SET")


def run(config: MeasureHeapConfig) -> Outcome:
    """Measure pairs of processes, or read in this one if `read` is given.

    Raises:
        UsageError: There are fewer samples than a batch, or no repeats.
        DataError: A process failed.
    """
    if config.samples < config.batch_size or min(config.batch_size, config.repeats) < 1:
        raise UsageError("--samples: expected one batch or more, and --repeats one or more")
    if config.read is not None:
        return Outcome(data=read(config.read, config), text="")
    with tempfile.TemporaryDirectory(prefix="measure-heap-") as folder:
        from store_bench.views import make_set

        make_set(Path(folder) / "set", config.samples, config.height, config.width, "zstd")
        pairs = [
            (_read_apart(folder, config, {}), _read_apart(folder, config, NOT_KEPT)) for _ in range(config.repeats)
        ]
    ratios = [kept["samples_per_s"] / other["samples_per_s"] for kept, other in pairs]
    data = {
        "kept_over_given_back": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "kept": _medians([kept for kept, _ in pairs]),
        "given_back": _medians([other for _, other in pairs]),
    }
    return Outcome(data=data | describe_machine(PACKAGES), text=_table(data))


def read(url: str, config: MeasureHeapConfig) -> dict[str, Any]:
    """Run two epochs with one loader worker; return speed, CPU, page faults and memory of the worker in the second."""
    from store_bench.epochs import Watched

    from sharding.reading.shard_set import ShardSet

    loader = Watched(ShardSet(url), config.batch_size, 1, config.height)
    loader.run(0)  # starts the worker and fills its heap
    (worker,) = loader.pids()
    before = _faults(worker)
    epoch = loader.run(1)
    return {
        "samples_per_s": epoch.rate,
        "cpu_ms_per_sample": 1000 * epoch.cpu_s / epoch.samples,
        "page_faults_per_sample": (_faults(worker) - before) / epoch.samples,
        "worker_mib": epoch.pss / 2**20,
    }


def _faults(pid: int) -> int:
    """Return how many minor page faults a process has had: pages mapped without disk reads (Linux)."""
    stat = read_stat(pid)
    assert stat is not None
    return stat.faults


def _read_apart(folder: str, config: MeasureHeapConfig, environment: dict[str, str]) -> dict[str, float]:
    """Run `--read` in a process of its own; return its figures."""
    sizes = (f"--height={config.height}", f"--width={config.width}", f"--batch-size={config.batch_size}")
    command = [sys.executable, __file__, "--json", "--read", str(Path(folder, "set")), *sizes]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise DataError(f"--read: expected exit status 0, found {done.returncode}; its own message is above")
    found: dict[str, float] = json.loads(done.stdout)
    say(f"{'given back' if environment else 'kept'}: {found['samples_per_s']:.1f} samples/s")
    return found


def _medians(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def _table(data: dict[str, Any]) -> str:
    ratio, kept, other = data["kept_over_given_back"], data["kept"], data["given_back"]
    rows = [f"{name:24} {kept[name]:12.2f} {other[name]:12.2f}" for name in kept]
    last = f"kept over given back: {ratio['median']:.2f} ({ratio['min']:.2f} - {ratio['max']:.2f}) in samples/s"
    return "\n".join([f"{'':24} {'kept':>12} {'given back':>12}", *rows, last])


COMMAND = Command(
    name="scripts/measure_heap.py",
    config=MeasureHeapConfig,
    runner=f"{__name__}:run",
    help="measure what a loader worker saves by keeping freed memory, on generated data",
    examples=("scripts/measure_heap.py", "scripts/measure_heap.py --json > heap.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
