"""Measure the fine-tuning loader against the tutorial's data set, other loaders, and a bare loop of its own functions.

All load the same views of 768 x 1024 pixels, and hand over views of 768 x 768 in batches: the tutorial's data set
(`tutorial`); webdataset, litdata and MosaicML streaming, as their docs have it, with the tutorial's transforms; those
three and a plain torch data set with our decode and warp (`..._engine`); ours, for sets with the presets exact and
compact, compressed and not. `limit` decodes and warps in a process a core what is in memory, into one batch that is
there from the start; `reference` does the same with the functions that views are compared with.

Each way runs in a process of its own, in turn: an epoch to warm up, then one that is measured. The consumer reads every
byte of every batch. Ratios are of samples/s by the wall clock; `cpu_ratios` are the same of CPU time, which other load
of the machine hardly changes.

litdata and mosaicml-streaming are the extra `bench`. Their bounds differ from our pins: install `.[train,bench]` in an
environment of its own, without constraints.txt, and name its Python by --peers. What is not installed is left out.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loader_bench.parts import BenchLoaderConfig, measure
from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError

BOUNDS = {
    "exact_over_tutorial": ("at least", 8.5),
    "none_over_tutorial": ("at least", 12.0),
    "compact_over_tutorial": ("at least", 8.5),
    "over_webdataset": ("at least", 8.0),
    "over_litdata": ("at least", 6.0),
    "over_mosaic": ("at least", 8.0),
    "engine_over_best_peer": ("at least", 1.2),
    "over_limit": ("at least", 0.85),
    "none_over_limit": ("at least", 0.75),
    "limit_over_reference": ("at least", 2.0),
    "none_limit_over_reference": ("at least", 3.0),
    "compact_over_exact": ("at least", 1.0),
    "consumer_ms": ("at most", 0.5),
    "faults_per_sample": ("at most", 50.0),
    "image_bytes_over_png": ("at most", 1.05),
}
"""Target of each figure."""

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "opencv-python-headless", "zstandard")


def run(config: BenchLoaderConfig) -> Outcome:
    """Measure all figures.

    Raises:
        UsageError: There are no photographs, fewer views than a batch, or other views in the folder.
        DataError: A process failed that is not a peer's.
    """
    if config.views < config.batch_size:
        raise UsageError(f"--views {config.views}: expected a batch or more, which is {config.batch_size}")
    from loader_bench.figures import summarize

    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as temporary:
        root = Path(config.folder or temporary)
        root.mkdir(parents=True, exist_ok=True)
        figures = summarize(measure(config, root))
    figures |= {"seconds": round(time.monotonic() - began), "load_before": load, **describe_machine(_PACKAGES)}
    figures |= {"missed": find_missed(figures), "unknown": [name for name in BOUNDS if figures[name] is None]}
    return Outcome(data=figures, text=format_figures(figures))


def find_missed(figures: dict[str, Any]) -> list[str]:
    """Return the names of the figures that miss their target; what was not measured misses none."""
    return [
        name
        for name, (side, bound) in BOUNDS.items()
        if (value := figures[name]) is not None and not (value >= bound if side == "at least" else value <= bound)
    ]


def format_figures(figures: dict[str, Any]) -> str:
    """Format the figures as tables: those with a target, what each way cost, and the parts of a tutorial's sample."""
    lines = []
    for name, (side, bound) in BOUNDS.items():
        found = figures["ratios"].get(name)
        turns = f"({found['least']:.2f} to {found['most']:.2f})" if found else ""
        shown = "-" if figures[name] is None else f"{figures[name]:.3f}"
        late = "  MISSED" if name in figures["missed"] else ""
        lines.append(f"{name:28} {shown:>9} {turns:18} {side} {bound}{late}")
    lines.append(f"{'cores_per_100_samples':28} {figures['cores_per_100_samples']:9.3f}")
    lines.append(f"\n{'':18} {'samples/s':>21} {'worker CPU ms':>14} {'consumer CPU ms':>16} {'faults':>14}")
    lines += [_format_way(way, spent) for way, spent in figures["ways"].items()]
    parts = ", ".join(f"{name} {spent:.1f}" for name, spent in figures["tutorial_parts_ms"].items())
    return "\n".join([*lines, f"\na sample of the tutorial, CPU ms: {parts}"])


def _format_way(way: str, spent: dict[str, dict[str, float]] | None) -> str:
    if spent is None:
        return f"{way:18} {'-':>9}"
    rate, middle = spent["samples_s"], {name: one["median"] for name, one in spent.items()}
    faults = f"{middle['worker_faults']:.0f} + {middle['consumer_faults']:.0f}"
    return (
        f"{way:18} {rate['median']:8.1f} ({rate['least']:.1f}-{rate['most']:.1f})".ljust(41)
        + f"{middle['workers_ms']:14.2f} {middle['consumer_ms']:16.2f} {faults:>14}"
    )


COMMAND = Command(
    name="scripts/bench_loader.py",
    config=BenchLoaderConfig,
    runner=f"{__name__}:run",
    help="measure the fine-tuning loader against the tutorial's, other loaders, and a bare loop",
    examples=(
        "scripts/bench_loader.py",
        "scripts/bench_loader.py --peers .venv-bench/bin/python --json > loader.json",
        "scripts/bench_loader.py --photos DIR --folder bench",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
