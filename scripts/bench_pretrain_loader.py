"""Measure how fast images reach LightlyTrain from a shard set, against the folder of files that it replaces.

The loaders are those of real runs: LightlyTrain's own for a folder of JPEG files of 1600 x 1200 pixels (q90, 4:2:0,
250 to 400 kB), and ours for sets of the same images, of the same bytes or scaled. All run in turn in this process,
three rounds after one that warms up. A figure is a ratio of images per CPU-second of the workers, by their own clocks:
what a rented machine with few cores a GPU has too little of. Beside it: the wall clock, and the CPU time of the main
process.

`limit` is a bare loop of LightlyTrain's decoder and transform, `floor` the entropy decoding of the same files.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine
from pretrain_bench.parts import RATIOS, BenchPretrainConfig, measure

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program

BOUNDS = {
    "simclr": dict(zip(RATIOS, (1.0, 0.9, 1.5, 2.7, 9.0), strict=True)),
    "dino": dict(zip(RATIOS, (1.05, 0.9, 1.5, 4.2, 12.0), strict=True)),
}
"""The least that each figure should be."""

_PACKAGES = ("torch", "torchvision", "lightly-train", "albumentations", "opencv-python-headless", "numpy", "pillow")


def run(config: BenchPretrainConfig) -> Outcome:
    """Measure all figures.

    Raises:
        UsageError: The photographs are not of the measured kind.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a loader worker has one thread, too
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-pretrain-") as root:
        figures = measure(config, Path(root))
    figures |= {"seconds": round(time.monotonic() - began), "load_before": load, **describe_machine(_PACKAGES)}
    missed = [
        f"{method}.{name}"
        for method in config.methods
        for name, bound in BOUNDS.get(method, {}).items()
        if figures[method][name] < bound
    ]
    return Outcome(data=figures | {"missed": missed}, text=format_figures(config, figures, missed))


def format_figures(config: BenchPretrainConfig, figures: dict[str, Any], missed: Sequence[str]) -> str:
    """Format the figures as tables: the ratios with their bounds, and what each loader costs."""
    lines = [f"images of {figures['image_bytes']['original'] / 1000:.0f} kB; floor {figures['floor_ms']:.2f} ms"]
    for method in config.methods:
        found = figures[method]
        for name in RATIOS:
            spread, bound = found["ratios"][name], BOUNDS.get(method, {}).get(name, 0)
            late = "  MISSED" if f"{method}.{name}" in missed else ""
            lines.append(
                f"{method + '.' + name:45} {found[name]:7.3f} ({spread['least']:.3f} to {spread['most']:.3f})"
                f"  at least {bound}{late}"
            )
        lines.append(f"{'':30} {'CPU ms/image':>13} {'images/s':>9} {'main ms/batch':>14} {'over floor':>11}")
        for name, spent in found["cpu_ms"].items():
            lines.append(
                f"{method + ' ' + name:30} {spent['median']:13.2f} {found['wall_images_s'][name]['median']:9.0f} "
                f"{found['main_ms_a_batch'][name]['median']:14.2f} {found['over_floor'].get(name, 1):11.2f}"
            )
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/bench_pretrain_loader.py",
    config=BenchPretrainConfig,
    runner=f"{__name__}:run",
    help="measure images per CPU-second from a set into LightlyTrain, against the folder that it replaces",
    examples=(
        "scripts/bench_pretrain_loader.py",
        "scripts/bench_pretrain_loader.py --json > pretrain-loader.json",
        "scripts/bench_pretrain_loader.py --photos DIR --method simclr",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
