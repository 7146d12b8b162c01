"""The options of `bench_pretrain_loader.py`, the loaders in turn, and the figures."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spread import spread

from sharding.options import option
from sharding.progress import say

if TYPE_CHECKING:
    from pretrain_bench.clocks import Epoch

METHODS = ("simclr", "dino")
SIDES = (1024, 512)

RATIOS = {
    "same_bytes_over_folder": ("same_bytes", "folder"),
    "same_bytes_over_limit": ("same_bytes", "limit"),
    "max_side_1024_over_folder": ("max_side_1024", "folder"),
    "gpu_views_over_folder": ("gpu_views", "folder"),
    "gpu_views_max_side_512_over_folder": ("gpu_views_max_side_512", "folder"),
}
"""Each figure: images per CPU-second of the workers of the first loader, over those of the second."""


@dataclass(frozen=True, kw_only=True)
class BenchPretrainConfig:
    """Options of the measurement."""

    images: int = option(256, "images of an epoch", metavar="N", least=8)
    batch_size: int = option(16, "images of a batch", metavar="N", least=1)
    num_workers: int = option(2, "loader worker processes", metavar="N", least=1)
    rounds: int = option(3, "measured epochs of each loader, in turn, after one to warm up", metavar="N", least=1)
    method: Literal["all", "simclr", "dino"] = option("all", "whose views are made")
    photos: str | None = option(
        None, "folder of photographs to use instead of rendered views", metavar="DIR", path="local"
    )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods to measure."""
        return METHODS if self.method == "all" else (self.method,)


def measure(config: BenchPretrainConfig, root: Path) -> dict[str, Any]:
    """Make the input below `root`, run all loaders of each method in turn, and return the figures."""
    from pretrain_bench.photos import make_set, write_photos

    folder = root / "photos"
    figures: dict[str, Any] = {"image_bytes": {"original": write_photos(folder, config.images, config.photos)}}
    make_set(folder, root / "same_bytes", None)
    for side in SIDES:
        make_set(folder, root / f"max_side_{side}", side)
        figures["image_bytes"][f"max_side_{side}"] = _image_bytes(root / f"max_side_{side}")
    for method in config.methods:
        figures[method] = _measure_method(config, root, method)
    figures["floor_ms"] = figures[config.methods[0]]["cpu_ms"]["floor"]["median"]
    return figures


def _image_bytes(target: Path) -> int:
    from sharding.reading.shard_set import ShardSet

    return int(ShardSet(str(target)).index["image_bytes"].mean())


def _measure_method(config: BenchPretrainConfig, root: Path, method: str) -> dict[str, Any]:
    epochs: dict[str, list[Epoch]] = {}
    ways = _make_ways(config, root, method)
    for number in range(config.rounds + 1):
        for name, run in ways.items():
            epoch = run()
            say(f"{method} {name}: {epoch.worker_ms:.2f} ms, {epoch.images / epoch.worker_s:.0f} images/CPU-s")
            if number:  # the first warms up
                epochs.setdefault(name, []).append(epoch)
    return summarize(epochs)


def _make_ways(config: BenchPretrainConfig, root: Path, method: str) -> "dict[str, Callable[[], Epoch]]":
    """Return a function for each loader and loop, which runs an epoch of it."""
    from pretrain_bench.clocks import run_epoch
    from pretrain_bench.loaders import folder_loader, set_loader
    from pretrain_bench.loops import run_floor, run_limit

    common: dict[str, Any] = {"method": method, "batch_size": config.batch_size, "workers": config.num_workers}

    def of_set(target: str, views: Literal["cpu", "gpu"]) -> Any:
        return set_loader(root / target, views, root / f"{method}-{target}-{views}", **common)

    of_folder = folder_loader(root / "photos", root / f"{method}-folder", **common)
    dataset: Any = of_folder.dataset
    files = sorted((root / "photos").rglob("*.jpg"))
    loaders = {
        "folder": of_folder,
        "same_bytes": of_set("same_bytes", "cpu"),
        "max_side_1024": of_set("max_side_1024", "cpu"),
        "gpu_views": of_set("same_bytes", "gpu"),
        "gpu_views_max_side_512": of_set("max_side_512", "gpu"),
    }
    ways: dict[str, Callable[[], Epoch]] = {name: partial(run_epoch, loader) for name, loader in loaders.items()}
    return ways | {
        "limit": partial(run_limit, files, dataset.transform),
        "floor": partial(run_floor, files),
    }


def summarize(epochs: "dict[str, list[Epoch]]") -> dict[str, Any]:
    """Return the ratios, paired by round, and what each loader cost an image: medians and spreads."""
    cpu = {name: [epoch.worker_ms for epoch in runs] for name, runs in epochs.items()}
    ratios = {
        name: [theirs / ours for ours, theirs in zip(cpu[one], cpu[other], strict=True)]
        for name, (one, other) in RATIOS.items()
    }
    over_floor = {
        name: round(statistics.median(runs) / statistics.median(cpu["floor"]), 3)
        for name, runs in cpu.items()
        if name != "floor"
    }
    return {
        **{name: round(statistics.median(found), 3) for name, found in ratios.items()},
        "ratios": {name: spread(found) for name, found in ratios.items()},
        "cpu_ms": {name: spread(runs) for name, runs in cpu.items()},
        "over_floor": over_floor,
        "wall_images_s": {
            name: spread([epoch.consumed / epoch.wall_s for epoch in runs]) for name, runs in epochs.items()
        },
        "main_ms_a_batch": {
            name: spread([1000 * epoch.main_s / epoch.batches for epoch in runs]) for name, runs in epochs.items()
        },
    }
