"""Measure the fine-tuning loader on an object store against a local folder, in one run on loopback.

A real S3 server (localbucket) and a link in front of it (`unreliable_link.py`) run in processes of their own and share
the cores with the loader workers and the consumer. The consumer therefore sleeps for each step, like a training loop
that waits for its GPU.

Paced epochs: a step takes 1.3 times the local time a batch, which is measured with the same number of workers on the
local folder right before; all time in `next(loader)` counts as waiting. Unpaced epochs: batches are consumed as fast as
they come; local and remote epochs run in pairs, and the side that runs first alternates.

Keys and their order are compared in every paced epoch; pixels only in epochs that are not timed, because checksums take
CPU time that the workers need. A figure with a spread is a median.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine
from store_bench.parts import BenchStoreConfig, measure
from store_bench.server import free_port, s3_server, use_endpoint

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError

BOUNDS = {
    "latency50_wait_share": ("at most", 0.05),
    "faults5_wait_share": ("at most", 0.10),
    "first_batch_s": ("at most", 3.0),
    "cached_over_local": ("at least", 0.95),
    "cached_requests": ("at most", 0),
    "rss_growth": ("at most", 0.05),
    "inflight_over_bound": ("at most", 1.0),
}
"""Target of each figure."""

_PACKAGES = ("torch", "obstore", "localbucket", "numpy", "zstandard", "opencv-python-headless")


def run(config: BenchStoreConfig) -> Outcome:
    """Measure all figures.

    Raises:
        UsageError: There are too few samples or repeats, or the S3 server is not installed.
        DataError: An epoch from the store differs from the local one.
    """
    if (
        config.samples < 4 * config.batch_size * config.num_workers
        or min(config.num_workers, config.epochs, config.repeats, config.cached_repeats) < 1
    ):
        raise UsageError("--samples: expected four batches a worker or more, at least one worker, epoch and repeat")
    began, load, port = time.monotonic(), os.getloadavg()[0], free_port()
    use_endpoint(port)  # before the fork server starts, whose environment all workers inherit
    with tempfile.TemporaryDirectory(prefix="bench-store-") as temporary:
        root = Path(config.folder or temporary)
        target = find_set(root, config)
        with s3_server(root) as server:
            figures = measure(config, target, server, port, Path(temporary) / "cache")
    figures |= {"seconds": round(time.monotonic() - began), "load_before": load, **describe_machine(_PACKAGES)}
    missed = [name for name, (side, bound) in BOUNDS.items() if not _holds(figures[name], side, bound)]
    return Outcome(data=figures | {"missed": missed}, text=format_figures(figures, missed))


def find_set(root: Path, config: BenchStoreConfig) -> Path:
    """Return the path of the set, `root/bucket/set`, and make the set unless it exists."""
    from store_bench.views import make_set

    target = root / "bucket" / "set"
    if not (target / "manifest.json").exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        make_set(target, config.samples, config.height, config.width, config.compression)
        os.sync()  # otherwise the disk is still writing the set while the first epochs are timed
    return target


def _holds(value: float, side: str, bound: float) -> bool:
    return value <= bound if side == "at most" else value >= bound


def format_figures(figures: dict[str, Any], missed: Sequence[str]) -> str:
    """Format the figures as text, a line each, with its bound if it has one."""
    rows = []
    for name, value in figures.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        side, bound = BOUNDS.get(name, ("", ""))
        rows.append(f"{name:32} {shown:>12}  {side} {bound}{'  MISSED' if name in missed else ''}".rstrip())
    return "\n".join(rows)


COMMAND = Command(
    name="scripts/bench_store.py",
    config=BenchStoreConfig,
    runner=f"{__name__}:run",
    help="measure the fine-tuning loader on an object store against a local folder, on loopback and generated data",
    examples=(
        "scripts/bench_store.py",
        "scripts/bench_store.py --json > store.json",
        "scripts/bench_store.py --height 480 --width 640 --samples 720 --folder bench",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
