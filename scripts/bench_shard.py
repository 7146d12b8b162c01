"""Measure `depthstream shard` on generated archives in the layout of MegaDepth and DIODE, against `tar xzf`.

Compared programs take turns; between turns their output is deleted and the disk is synchronised, outside the timing.
The archives are in the page cache. The last part reads an archive over HTTP that is generated while it is read, and
fits how the memory of the program grows with the bytes read.

Memory is that of all processes of a program. MB and GB are 10**6 and 10**9 bytes of the compressed archive.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from machine import describe_machine
from making_bench.parts import GIGABYTE, IMAGES, MEASURE, ONE_WORKER, STREAMED, TAR, TWO_WORKERS, BenchConfig
from making_bench.process_tree import TreeSample
from making_bench.turns import Turns

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError

BOUNDS = {
    "images_only_over_tar_xzf": ("at most", 0.7),
    "workers2_over_1": ("at least", 1.7),
    "peak_rss_mib": ("below", 2048),
    "rss_slope_mib_per_gb": ("at most", 6),
}
BINS = 64
"""Bins of equal bytes read; memory is reduced to the median of each bin before the fit."""
_PACKAGES = ("depthstream", "rapidgzip", "zstandard", "numpy", "pillow", "h5py")
_PROGRAMS = ("tar", "gzip")


def fit_slope(points: Sequence[tuple[float, float]]) -> float:
    """Fit the slope of a line: the median over all pairs (Theil 1950, Sen 1968), which is robust to outliers."""
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if a[0] != b[0])


def memory_by_gigabyte(samples: Sequence[TreeSample], num_bytes: int, settled_gigabytes: float) -> list[list[float]]:
    """Reduce samples to [GB read, MiB of memory], the medians of each bin.

    Args:
        samples: Whose progress is the number of bytes read.
        num_bytes: Of the whole archive; later samples, when all is read, are left out.
        settled_gigabytes: Earlier samples, while buffers and caches fill, are left out.
    """
    bins: defaultdict[int, list[TreeSample]] = defaultdict(list)
    for one in samples:
        if settled_gigabytes * GIGABYTE <= one.progress < num_bytes:
            bins[one.progress * BINS // num_bytes].append(one)  # 0 to BINS - 1
    return [
        [
            statistics.median(one.progress for one in held) / GIGABYTE,
            statistics.median(one.memory_bytes for one in held) / 2**20,
        ]
        for _, held in sorted(bins.items())
    ]


def results(turns: Turns, config: BenchConfig) -> dict[str, Any]:
    """Compute the figures that have bounds, as far as their parts were measured, and the spread or points of each."""
    found: dict[str, Any] = {}
    if TAR in turns.used:
        spread = turns.ratio(IMAGES, TAR)
        found |= {"images_only_over_tar_xzf": spread["median"], "images_only_over_tar_xzf_spread": spread}
    if ONE_WORKER in turns.used:
        spread = turns.ratio(ONE_WORKER, TWO_WORKERS)  # same samples: speed of 2 over speed of 1
        found |= {"workers2_over_1": spread["median"], "workers2_over_1_spread": spread}
    # The memory of tar has no bound: only the conversions count.
    found["peak_rss_mib"] = max(one.peak_mib for name, used in turns.used.items() if name != TAR for one in used)
    if STREAMED in turns.used:
        size, samples = turns.programs[STREAMED].num_bytes, turns.used[STREAMED][0].samples
        points = memory_by_gigabyte(samples, size, config.settled_gigabytes)
        slope = fit_slope([(one[0], one[1]) for one in points]) if len(points) > 1 else None
        found |= {"rss_slope_mib_per_gb": slope, "rss_mib_by_gb": points}
    return found


def holds(name: str, value: float | None) -> bool | None:
    """Return whether a figure is within its bound; None if it was not measured."""
    word, bound = BOUNDS[name]
    if value is None:
        return None
    return value >= bound if word == "at least" else value <= bound if word == "at most" else value < bound


def format_rows(data: dict[str, Any]) -> str:
    """Format the figures as text: a line for each program, then one for each bound."""
    lines = [f"{'':29}{'s':>8}{'min - max':>16}{'MB/s':>8}{'samples/s':>11}{'cores':>7}{'MiB':>7}"]
    for name, row in data["runs"].items():
        spread = f"{row['wall_s_min']:.2f} - {row['wall_s_max']:.2f}"
        speeds = f"{_or_dash(row['mb_per_s']):>8}{_or_dash(row['samples_per_s']):>11}"
        lines.append(f"{name:29}{row['wall_s']:8.2f}{spread:>16}{speeds}{row['cores']:7.2f}{row['peak_mib']:7.0f}")
    lines.append("")
    for name, (word, bound) in BOUNDS.items():
        if (value := data.get(name)) is not None:
            verdict = "holds" if holds(name, value) else "does not hold"
            lines.append(f"{name:29}{value:8.2f}  {word} {bound}: {verdict}")
    return "\n".join(lines)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def check(config: BenchConfig) -> None:
    """Check the options.

    Raises:
        UsageError: A count, size or part is not valid, or the scratch folder does not exist.
    """
    if low := [name for name in ("views", "distinct", "repeats") if getattr(config, name) < 1]:
        raise UsageError(f"{', '.join(low)}: expected 1 or more")
    if low := [name for name in ("gigabytes", "diode_gigabytes", "slope_gigabytes") if getattr(config, name) <= 0]:
        raise UsageError(f"{', '.join(low)}: expected more than 0")
    if config.settled_gigabytes >= config.slope_gigabytes:
        raise UsageError("settled_gigabytes: expected fewer than slope_gigabytes, or nothing is left to fit")
    if unknown := sorted(set(config.parts) - set(MEASURE)):
        raise UsageError(f"parts: expected some of {', '.join(MEASURE)}, found {', '.join(unknown)}")
    if config.scratch is not None and not Path(config.scratch).is_dir():
        raise UsageError(f"{config.scratch}: expected a folder to write into, found none")


def run(config: BenchConfig) -> Outcome:
    """Measure all parts.

    Raises:
        UsageError: As `check`.
        DataError: A program failed, or its set does not have the expected number of samples.
    """
    check(config)
    turns, began = Turns(), time.monotonic()
    for part in config.parts:
        # A folder a part, so that a part's archives are deleted before the next ones are written.
        with TemporaryDirectory(prefix="bench-shard-", dir=config.scratch) as scratch:
            MEASURE[part](turns, config, Path(scratch))
    found = results(turns, config)
    data = found | {
        "holds": {name: holds(name, found.get(name)) for name in BOUNDS},
        "runs": {name: turns.row(name) for name in turns.used},
        "options": asdict(config),
        "took_s": round(time.monotonic() - began, 1),
    }
    data |= describe_machine(_PACKAGES, _PROGRAMS)
    return Outcome(data=data, text=format_rows(data))


COMMAND = Command(
    name="scripts/bench_shard.py",
    config=BenchConfig,
    runner=f"{__name__}:run",
    help="measure how fast shard sets are made, against tar xzf",
    examples=(
        "scripts/bench_shard.py --json > shard.json",
        "scripts/bench_shard.py --parts archive --gigabytes 4 --repeats 5",
        "scripts/bench_shard.py --parts folder slope --scratch /mnt/fast",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run with the options of `BenchConfig` and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
