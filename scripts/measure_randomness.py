"""Measure how many batches of views are unique: LightlyTrain's own loader of files against ours of a set.

All images are copies of one, so that whatever differs between two batches is the randomness of their views. Batches
whose first views have the same bits, in whatever epoch, count as one.
"""

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.options import option

_PACKAGES = ("torch", "lightly-train", "albumentations", "pytorch-lightning")


@dataclass(frozen=True, kw_only=True)
class RandomnessConfig:
    """Options of the measurement."""

    images: int = option(32, "copies of the image", metavar="N", least=8)
    batch_size: int = option(4, "images of a batch", metavar="N", least=1)
    epochs: int = option(2, "epochs of each loader", metavar="N", least=1)


def run(config: RandomnessConfig) -> Outcome:
    """Count the unique batches of both loaders, with 0, 2 and 4 workers."""
    from pretrain_bench.loaders import folder_loader, set_loader
    from pretrain_bench.photos import make_set, write_copies

    rows = []
    with tempfile.TemporaryDirectory(prefix="randomness-") as temporary:
        root = Path(temporary)
        write_copies(root / "files", config.images)
        make_set(root / "files", root / "set", None)
        for workers in (0, 2, 4):
            common: dict[str, Any] = {"method": "simclr", "batch_size": config.batch_size, "workers": workers}
            stock = folder_loader(root / "files", root / f"stock-{workers}", **common)
            ours = set_loader(root / "set", "cpu", root / f"ours-{workers}", **common)
            device = set_loader(root / "set", "gpu", root / f"gpu-{workers}", **common)
            found = {
                "stock": count_unique(stock, config.epochs),
                "ours": count_unique(ours, config.epochs),
                "ours_gpu_views": count_unique(device, config.epochs),
            }
            rows.append({"workers": workers, "batches": config.epochs * (config.images // config.batch_size)} | found)
    return Outcome(data={"rows": rows} | describe_machine(_PACKAGES), text=format_rows(rows))


def count_unique(loader: Any, epochs: int) -> int:
    """Count the different batches, by their first views."""
    seen: set[str] = set()
    for epoch in range(epochs):
        if hasattr(loader.sampler, "set_epoch"):  # Lightning calls it
            loader.sampler.set_epoch(epoch)
        for batch, *_ in loader:
            # Views that the device will make follow from what was drawn for them.
            drawn = batch["views"][0] if "views" in batch else batch["draws"]
            seen.add(hashlib.md5(drawn.numpy().tobytes()).hexdigest())
    return len(seen)


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Format the counts as a table."""
    lines = [f"{'workers':>7} {'batches':>8} {'stock':>6} {'ours':>6} {'ours, --views gpu':>18}"]
    for row in rows:
        lines.append(
            f"{row['workers']:7} {row['batches']:8} {row['stock']:6} {row['ours']:6} {row['ours_gpu_views']:18}"
        )
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/measure_randomness.py",
    config=RandomnessConfig,
    runner=f"{__name__}:run",
    help="count the unique batches of views of LightlyTrain's loader of files and of ours",
    examples=("scripts/measure_randomness.py", "scripts/measure_randomness.py --json > randomness.json"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
