"""Measure what it takes to open a set of many rows, for the tables of docs/results/opening.md.

Each number of rows is opened by fresh processes that have imported everything before: manifest and index are read and
checked, and a `DiodeDepthDataset` without an order is made of them, as a loader with workers needs it. Memory is the
most that the process held meanwhile, beyond what it held after the imports; shared memory counts.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe_machine
from spread import spread

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError
from sharding.options import option
from sharding.progress import say

PACKAGES = ("numpy", "pandas", "pyarrow", "torch")
BOUNDS = {"open_1e6_s": 2.0, "open_1e6_mb": 300.0}
"""The most that opening a million rows may take: CPU seconds, and megabytes (10^6 bytes)."""

_ROWS = (100, 10_000, 1_000_000)
_BOUNDED_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class BenchOpenConfig:
    """Options of the measurement."""

    rows: tuple[int, ...] = option(_ROWS, "rows of the index, one set each", metavar="N", least=1)
    repeats: int = option(3, "processes a set, after one to warm up", metavar="N", least=1)
    items: int = option(300, "samples that are read, at random", metavar="N", least=1)
    read: str | None = option(None, "only open this set, in this process, and print its figures", metavar="SET")


def run(config: BenchOpenConfig) -> Outcome:
    """Measure each number of rows; or open one set in this process, if `read` is given.

    Raises:
        DataError: A process failed.
    """
    if config.read is not None:
        return Outcome(data=read(config.read, config.items), text="")
    from repeated_set import make_views, repeat_views

    found = {}
    with tempfile.TemporaryDirectory(prefix="bench-open-") as folder:
        views = make_views(Path(folder) / "views")
        for rows in config.rows:
            target = Path(folder) / f"set-{rows}"
            repeat_views(views, rows, target)
            say(f"{rows} rows")
            runs = [_read_apart(target, config.items) for _ in range(config.repeats + 1)][1:]
            index_mb = round((target / "index.parquet").stat().st_size / 1e6, 1)
            found[rows] = {"index_mb": index_mb} | {name: spread([one[name] for one in runs], 4) for name in runs[0]}
    data = {"rows": found} | _bounded(found) | describe_machine(PACKAGES)
    return Outcome(data=data, text=format_figures(found))


def read(url: str, items: int) -> dict[str, float]:
    """Open a set and read samples of it in this process; return times in seconds or, of a sample, in milliseconds."""
    import numpy as np
    import pandas as pd  # noqa: F401  not a part of opening
    import pyarrow.compute as pc  # noqa: F401
    import pyarrow.parquet as pq  # noqa: F401

    from sharding.reading.shard_set import ShardSet
    from training.loading.dataset import DiodeDepthDataset

    before = _start_of_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    dataset = DiodeDepthDataset(ShardSet(url))
    figures = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    figures["mb"] = (_status("VmHWM") - before) / 1e6
    cpu = time.process_time()
    dataset[len(dataset) - 1]
    figures["first_item_s"] = time.process_time() - cpu
    rows = np.random.default_rng(0).integers(0, len(dataset), items).tolist()
    cpu = time.process_time()
    for row in rows:
        dataset[row]
    return figures | {"item_ms": 1e3 * (time.process_time() - cpu) / items}


def _start_of_peak() -> int:
    """Forget the most memory that this process held so far; return what it holds now, in bytes. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def _read_apart(target: Path, items: int) -> dict[str, float]:
    """Open a set in a fresh process.

    Raises:
        DataError: It failed.
    """
    words = [sys.executable, __file__, "--read", str(target), "--items", str(items), "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"opening {target.name} failed: {done.stderr.strip()[-500:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _bounded(found: dict[int, Any]) -> dict[str, Any]:
    """Return the figures that have bounds, and which of them miss theirs."""
    if _BOUNDED_ROWS not in found:
        return {}
    row = found[_BOUNDED_ROWS]
    figures = {"open_1e6_s": row["cpu_s"]["median"], "open_1e6_mb": row["mb"]["median"]}
    return figures | {"bounds": BOUNDS, "missed": [name for name, most in BOUNDS.items() if figures[name] > most]}


def format_figures(found: dict[int, Any]) -> str:
    """Format the figures as a table."""
    lines = [f"{'rows':>9}{'index MB':>10}{'CPU s':>24}{'wall s':>24}{'MB':>22}{'first item s':>24}{'item ms':>22}"]
    digits = {"cpu_s": (24, 3), "wall_s": (24, 3), "mb": (22, 1), "first_item_s": (24, 4), "item_ms": (22, 2)}
    for rows, row in found.items():
        cells = [_cell(row[name], places).rjust(width) for name, (width, places) in digits.items()]
        lines.append(f"{rows:9}{row['index_mb']:10}{''.join(cells)}")
    return "\n".join(lines)


def _cell(found: dict[str, float], places: int) -> str:
    return f"{found['median']:.{places}f} ({found['least']:.{places}f}-{found['most']:.{places}f})"


COMMAND = Command(
    name="scripts/bench_open.py",
    config=BenchOpenConfig,
    runner=f"{__name__}:run",
    help="measure what it takes to open a set of many rows",
    examples=("scripts/bench_open.py", "scripts/bench_open.py --rows 1000000 --json > opening.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
