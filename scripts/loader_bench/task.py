"""What a process of `bench_loader.py` is asked to do, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sharding.format.choices import Compression, Preset

SETS: dict[str, tuple[Preset, Compression]] = {
    "exact": ("exact", "zstd"),
    "exact_none": ("exact", "none"),
    "compact": ("compact", "zstd"),
    "compact_none": ("compact", "none"),
}
"""Our sets: preset and compression. Each is a way, too: our loader."""

PEERS = {"webdataset": "webdataset", "litdata": "litdata", "mosaic": "streaming"}
"""Other loaders, and the module that each is."""

ENGINES = tuple(f"{name}_engine" for name in ("torch", *PEERS))
"""Our decode and warp in a plain torch Dataset and in each peer."""

LIMITS = ("limit", "limit_none", "reference", "reference_none")
"""Bare loops over the exact sets: our functions, and those that they are compared with."""

WAYS = ("tutorial", *PEERS, *ENGINES, *SETS, *LIMITS)


def peer_of(way: str) -> str | None:
    """Return the peer that a way is or uses, if there is one."""
    name = way.removesuffix("_engine")
    return name if name in PEERS else None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to do.

    Attributes:
        way: One of `WAYS`.
        root: Folder of the views in every encoding, see `loader_bench.inputs`.
        side: Height and width of the views that are made, pixels.
        batch_size: Samples of a batch.
        num_workers: Loader worker processes.
        does: Write the way's own files, run an epoch, or time the parts of the tutorial's samples.
        into: Where the files are written, if not to the way's own folder.
    """

    way: str
    root: str
    side: int
    batch_size: int
    num_workers: int
    does: Literal["write", "run", "parts"] = "run"
    into: str | None = None

    @property
    def folder(self) -> Path:
        """The way's own files: those that a peer's writer makes."""
        return Path(self.into or Path(self.root) / self.way)

    @property
    def source(self) -> Path:
        """The views as DIODE publishes them."""
        return Path(self.root) / "source"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What an epoch cost after one to warm up, workers and consumer apart.

    Attributes:
        samples: That reached the consumer.
        wall_s: Seconds from asking for the first batch until the last one has been read.
        workers_s: CPU seconds of all other processes and threads than the consumer.
        consumer_s: CPU seconds of the consumer, which reads every byte of every batch.
        worker_faults: Pages that were mapped to the workers without a disk read.
        consumer_faults: The same for the consumer.
    """

    samples: int
    wall_s: float
    workers_s: float
    consumer_s: float
    worker_faults: int
    consumer_faults: int

    @property
    def rate(self) -> float:
        """Return samples a second."""
        return self.samples / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Return CPU milliseconds a sample, of workers and consumer."""
        return 1000 * (self.workers_s + self.consumer_s) / self.samples

    @property
    def workers_ms(self) -> float:
        """Return CPU milliseconds a sample, of the workers."""
        return 1000 * self.workers_s / self.samples

    @property
    def consumer_ms(self) -> float:
        """Return CPU milliseconds a sample, of the consumer."""
        return 1000 * self.consumer_s / self.samples

    @property
    def faults(self) -> float:
        """Return page faults a sample, of workers and consumer."""
        return (self.worker_faults + self.consumer_faults) / self.samples
