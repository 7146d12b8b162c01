"""Measure how long LightlyTrain takes to begin: with a folder of as many files as MegaDepth has, and with a set.

From the call of `lightly_train.pretrain` until it has its loader, and until the first batch is there; the import of
LightlyTrain, ten seconds, is not counted. Both in turn in one process, after one of each that warms up. The files are
links to one small image: what is measured is finding them, not reading.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.options import option

MEGADEPTH = 128_228
"""Images of MegaDepth v1 that the tutorial pretrains on."""

_SCENES = 196
_PACKAGES = ("torch", "lightly-train", "pytorch-lightning", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class StartupConfig:
    """Options of the measurement."""

    images: int = option(MEGADEPTH, "images", metavar="N", least=16)
    rounds: int = option(3, "starts of each, in turn, after one to warm up", metavar="N", least=1)


def run(config: StartupConfig) -> Outcome:
    """Measure both."""
    from pretrain_bench.loaders import folder_loader, set_loader
    from pretrain_bench.photos import link_copies, make_set

    times: dict[str, list[dict[str, float]]] = {"folder": [], "set": []}
    with tempfile.TemporaryDirectory(prefix="startup-") as temporary:
        root = Path(temporary)
        link_copies(root / "files", config.images, _SCENES)
        make_set(root / "files", root / "set", None)
        os.sync()
        common: dict[str, Any] = {"method": "simclr", "batch_size": 16, "workers": 1}
        for number in range(config.rounds + 1):
            ways = {
                "folder": partial(folder_loader, root / "files", root / f"folder-{number}", **common),
                "set": partial(set_loader, root / "set", "cpu", root / f"set-{number}", **common),
            }
            for name, start in ways.items():
                times[name].append(time_start(start))
    figures = {name: summarize(found[1:]) for name, found in times.items()}  # the first warms up
    ratio = figures["folder"]["loader_s"]["median"] / figures["set"]["loader_s"]["median"]
    data = {"images": config.images, "folder_over_set": round(ratio, 2)} | figures | describe_machine(_PACKAGES)
    return Outcome(data=data, text=format_figures(config.images, figures, ratio))


def time_start(start: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds until there is a loader, and until its first batch is there."""
    begin = time.perf_counter()
    loader = start()
    made = time.perf_counter()
    batches = iter(loader)
    next(batches)
    return {"loader_s": made - begin, "first_batch_s": time.perf_counter() - begin}


def summarize(found: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return median, least and most of each time."""
    return {
        name: {
            "median": round(statistics.median(one[name] for one in found), 2),
            "least": round(min(one[name] for one in found), 2),
            "most": round(max(one[name] for one in found), 2),
        }
        for name in found[0]
    }


def format_figures(images: int, figures: dict[str, Any], ratio: float) -> str:
    """Format the times as a table."""
    lines = [f"{images} images; until there is a loader, a folder takes {ratio:.2f} times as long as a set"]
    for name, found in figures.items():
        until = [f"{one['median']:.2f} s ({one['least']:.2f} to {one['most']:.2f})" for one in found.values()]
        lines.append(f"{name:8} loader {until[0]}   first batch {until[1]}")
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/measure_startup.py",
    config=StartupConfig,
    runner=f"{__name__}:run",
    help="measure how long LightlyTrain takes to begin with a folder of files and with a set",
    examples=("scripts/measure_startup.py", "scripts/measure_startup.py --images 10000 --json > startup.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
