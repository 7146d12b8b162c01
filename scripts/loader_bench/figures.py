"""The figures of `bench_loader.py`: ratios of speeds within a turn, and what a way cost a sample."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spread import spread

from loader_bench.parts import Measured
from loader_bench.task import ENGINES, WAYS, Epoch

RATIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "exact_over_tutorial": ("exact", ("tutorial",)),
    "none_over_tutorial": ("exact_none", ("tutorial",)),
    "compact_over_tutorial": ("compact", ("tutorial",)),
    "over_webdataset": ("exact", ("webdataset",)),
    "over_litdata": ("exact", ("litdata",)),
    "over_mosaic": ("exact", ("mosaic",)),
    "engine_over_best_peer": ("exact", ENGINES),
    "over_limit": ("exact", ("limit",)),
    "none_over_limit": ("exact_none", ("limit_none",)),
    "limit_over_reference": ("limit", ("reference",)),
    "none_limit_over_reference": ("limit_none", ("reference_none",)),
    "compact_over_exact": ("compact", ("exact",)),
}
"""Each figure: samples/s of a way over those of another, or of the best of several; None if one of them is missing."""

SPENT: dict[str, Callable[[Epoch], float]] = {
    "samples_s": lambda epoch: epoch.rate,
    "cpu_ms": lambda epoch: epoch.cpu_ms,
    "workers_ms": lambda epoch: epoch.workers_ms,
    "consumer_ms": lambda epoch: epoch.consumer_ms,
    "worker_faults": lambda epoch: epoch.worker_faults / epoch.samples,
    "consumer_faults": lambda epoch: epoch.consumer_faults / epoch.samples,
}
"""What is told of each way: samples/s by the wall clock, CPU milliseconds and page faults a sample."""


def summarize(measured: Measured) -> dict[str, Any]:
    """Return all figures: medians, and beside them the spread, and the same ratios by CPU time."""
    epochs = measured.epochs
    by_wall = {name: ratios(epochs, *sides, speed=lambda epoch: epoch.rate) for name, sides in RATIOS.items()}
    by_cpu = {name: ratios(epochs, *sides, speed=lambda epoch: 1 / epoch.cpu_ms) for name, sides in RATIOS.items()}
    sizes = measured.image_bytes
    return {
        **{name: None if found is None else found["median"] for name, found in by_wall.items()},
        "consumer_ms": _median(epochs["exact"], lambda epoch: epoch.consumer_ms),
        "faults_per_sample": _median(epochs["exact"], lambda epoch: epoch.faults),
        # A CPU second a second is a core: 100 samples/s at 1 ms are a tenth of one.
        "cores_per_100_samples": _median(epochs["exact"], lambda epoch: epoch.cpu_ms / 10),
        "image_bytes_over_png": round(sizes["exact"] / sizes["png"], 3),
        "ratios": by_wall,
        "cpu_ratios": by_cpu,
        "ways": {
            way: {name: spread([of(epoch) for epoch in epochs[way]]) for name, of in SPENT.items()}
            if way in epochs
            else None
            for way in WAYS
        },
        "tutorial_parts_ms": measured.parts,
        "image_bytes": {name: round(size) for name, size in sizes.items()},
        "peers": measured.peers,
        "missing": measured.missing,
    }


def ratios(
    epochs: Mapping[str, Sequence[Epoch]], way: str, others: Sequence[str], speed: Callable[[Epoch], float]
) -> dict[str, float] | None:
    """Return the spread of the speed of a way over the best of `others`, turn by turn; None if one is missing."""
    if any(name not in epochs for name in (way, *others)):
        return None
    turns = zip(epochs[way], zip(*(epochs[name] for name in others), strict=True), strict=True)
    return spread([speed(ours) / max(map(speed, theirs)) for ours, theirs in turns])


def _median(epochs: Sequence[Epoch], of: Callable[[Epoch], float]) -> float:
    return round(statistics.median(map(of, epochs)), 3)
