"""Measure loader workers: samples/s for their number, the first batch, and the memory that each has for itself.

Each case is a process of its own that reads several epochs of fine-tuning's views through its loader. The consumer
reads every byte of every batch. A worker's private memory is what no other process shares with it: the blocks in which
batches are handed over, which the trainer maps as well, are not part of it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader_bench.epochs import read_batch
from machine import describe_machine
from spread import spread

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError
from sharding.options import option
from sharding.progress import say

PACKAGES = ("torch", "numpy", "opencv-python-headless", "zstandard")
BOUNDS = {"worker_mb_batch32_over_16": 1.1, "worker_mb_last_epoch_over_first": 1.05}
"""The most that a worker's private memory may grow: with twice the batch, and over the epochs."""

_CASES = ((0, 16), (1, 16), (2, 16), (4, 16), (2, 32))
"""Numbers of workers, and sizes of batches."""

_COMPARED = (2, 16), (2, 32)


@dataclass(frozen=True, kw_only=True)
class BenchWorkersConfig:
    """Options of the measurement."""

    set: str | None = option(None, "set of views with depth to read (default: one is made)", metavar="SET", path="any")
    views: int = option(192, "views of the set that is made", metavar="N", least=64)
    height: int = option(768, "height of its views, and side of the square views that are read", metavar="PX", least=16)
    width: int = option(1024, "width of its views", metavar="PX", least=16)
    epochs: int = option(5, "epochs of each case", metavar="N", least=2)
    turns: int = option(2, "times that all cases are run, in turn", metavar="N", least=1)
    read: int | None = option(None, "only read the set with this number of workers, in this process", metavar="N")
    batch_size: int = option(16, "samples of a batch, with --read", metavar="N", least=1)


def run(config: BenchWorkersConfig) -> Outcome:
    """Measure all cases in turn; or one of them in this process, if `read` is given.

    Raises:
        DataError: A process failed.
    """
    if config.read is not None:
        return Outcome(
            data=read(str(config.set), config.height, config.read, config.batch_size, config.epochs), text=""
        )
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as folder:
        target = config.set or _make_set(Path(folder) / "set", config)
        turns = [{case: _read_apart(target, config, *case) for case in _CASES} for _ in range(config.turns)]
    found = {case: [turn[case] for turn in turns] for case in _CASES}
    data = summarize(found)
    return Outcome(data=data | describe_machine(PACKAGES), text=format_figures(data))


def _make_set(target: Path, config: BenchWorkersConfig) -> str:
    from store_bench.views import make_set

    make_set(target, config.views, config.height, config.width, "zstd")
    return str(target)


def read(url: str, side: int, num_workers: int, batch_size: int, epochs: int) -> dict[str, Any]:
    """Read epochs of a set; return the time to the first batch, and samples/s and a worker's memory by epoch."""
    from sharding.reading.shard_set import ShardSet
    from training.loading.augment import PairedAugment
    from training.loading.dataset import DiodeDepthDataset
    from training.loading.loader import Loading, build_loader
    from training.loading.sampler import TrainSampler

    samples = ShardSet(url)
    dataset = DiodeDepthDataset(samples, augment=PairedAugment(height=side, width=side), shuffle=True)
    sampler = TrainSampler(len(samples), batch_size, dataset.prepare)
    begin = time.perf_counter()
    loader = build_loader(dataset, sampler, Loading(batch_size=batch_size, num_workers=num_workers))
    firsts, rates, memory = [], [], []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        started, seen = time.perf_counter(), 0
        for batch in loader:
            firsts.append(time.perf_counter() - begin)
            seen += read_batch(batch)
            del batch
        rates.append(seen / (time.perf_counter() - started))
        memory.append(_private_mb(loader))
    return {"first_batch_s": firsts[0], "samples_s": rates, "worker_mb": memory if num_workers else None}


def _private_mb(loader: Any) -> float:
    """Return the mean private memory of the workers of a loader, MB (10^6 bytes). Linux only."""
    workers = [] if loader.num_workers == 0 else loader._iterator._workers  # they persist from epoch to epoch
    return statistics.mean(_private_bytes(worker.pid) for worker in workers) / 1e6 if workers else 0.0


def _private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def _read_apart(target: str, config: BenchWorkersConfig, num_workers: int, batch_size: int) -> dict[str, Any]:
    """Read the set in a fresh process.

    Raises:
        DataError: It failed.
    """
    options = {"set": target, "height": config.height, "epochs": config.epochs}
    options |= {"read": num_workers, "batch-size": batch_size}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([sys.executable, __file__, *words, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"{num_workers} workers, batches of {batch_size}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    say(f"{num_workers} workers, batches of {batch_size}: {statistics.median(found['samples_s'][1:]):.1f} samples/s")
    return found


Case = tuple[int, int]
"""Number of workers, and samples of a batch."""


def summarize(found: dict[Case, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures of each case, over its turns, and those that have bounds.

    Args:
        found: Of each case, what `read` returned in each turn.
    """
    cases = [_summarize_case(case, turns) for case, turns in found.items()]
    by_case = {(one["num_workers"], one["batch_size"]): one for one in cases}
    usual, larger = (by_case[case] for case in _COMPARED)
    figures = {
        "first_batch_s": usual["first_batch_s"]["median"],
        "worker_private_mb": usual["worker_mb"][-1],
        "worker_mb_batch32_over_16": larger["worker_mb"][-1] / usual["worker_mb"][-1],
        "worker_mb_last_epoch_over_first": max(
            one["worker_mb"][-1] / one["worker_mb"][0] for one in cases if one["worker_mb"]
        ),
    }
    missed = [name for name, most in BOUNDS.items() if figures[name] > most]
    return {name: round(value, 3) for name, value in figures.items()} | {"missed": missed, "cases": cases}


def _summarize_case(case: Case, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over turns: of the rates after the first epoch, which warms up; of the memory by epoch."""
    memory = [turn["worker_mb"] for turn in turns]
    return {
        "num_workers": case[0],
        "batch_size": case[1],
        "samples_s": spread([rate for turn in turns for rate in turn["samples_s"][1:]], 1),
        "first_batch_s": spread([turn["first_batch_s"] for turn in turns]),
        "worker_mb": None
        if memory[0] is None
        else [round(statistics.median(epoch), 1) for epoch in zip(*memory, strict=True)],
    }


def format_figures(data: dict[str, Any]) -> str:
    """Format the figures as a table, and those with bounds below it."""
    lines = [f"{'workers':>7}{'batch':>7}{'samples/s':>24}{'first batch s':>24}  private MB of a worker, by epoch"]
    for one in data["cases"]:
        cells = "".join(
            f"{found['median']:.{places}f} ({found['least']:.{places}f}-{found['most']:.{places}f})".rjust(24)
            for found, places in ((one["samples_s"], 1), (one["first_batch_s"], 2))
        )
        memory = ", ".join(f"{value:.0f}" for value in one["worker_mb"] or [])
        lines.append(f"{one['num_workers']:7}{one['batch_size']:7}{cells}  {memory}")
    lines += [f"{name}: {data[name]} (at most {most})" for name, most in BOUNDS.items()]
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/bench_workers.py",
    config=BenchWorkersConfig,
    runner=f"{__name__}:run",
    help="measure loader workers: rate, first batch, memory",
    examples=("scripts/bench_workers.py", "scripts/bench_workers.py --set sets/diode-train --json > workers.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
