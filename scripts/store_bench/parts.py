"""The parts of `bench_store.py`: the options, and each figure, measured next to the local folder."""

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.errors import DataError
from sharding.format.choices import Compression
from sharding.options import option
from sharding.progress import say
from store_bench.server import RunningLink, link

if TYPE_CHECKING:
    from sharding.reading.shard_set import ShardSet
    from store_bench.epochs import EpochFigures, Watched

PACE = 1.3
"""Duration of a paced consumer's step, in local times a batch."""

URL = "s3://bucket/set"


@dataclass(frozen=True, kw_only=True)
class BenchStoreConfig:
    """Options of the measurement."""

    samples: int = option(320, "views in the set", metavar="N")
    height: int = option(768, "height of the views, and side of the square crops", metavar="PX")
    width: int = option(1024, "width of the views", metavar="PX")
    compression: Compression = option("zstd", "compression of the set")
    batch_size: int = option(8, "samples of a batch", metavar="N")
    num_workers: int = option(2, "loader worker processes", metavar="N")
    epochs: int = option(5, "epochs over which memory growth is measured, after the paced ones", metavar="N")
    repeats: int = option(3, "epochs of which the median is taken, each next to a local one", metavar="N")
    cached_repeats: int = option(24, "the same for the cache: more, because its difference is small", metavar="N")
    folder: str | None = option(None, "folder to keep the set in, and to reuse it from", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class StoreBench:
    """The parts that all measurements share.

    Attributes:
        config: Options.
        local: The loader of the local folder.
        server: Port of the S3 server.
        port: Port of every link: workers inherit the address from the environment with which the fork server started.
        cache: Folder for the cache, empty at first.
    """

    config: BenchStoreConfig
    local: "Watched"
    server: int
    port: int
    cache: Path

    @contextmanager
    def through(self, *options: str, cached: bool = False) -> Iterator[tuple["Watched", RunningLink]]:
        """Run a link with `options`, and yield a new loader of the remote set through it, and the link.

        With `cached`, the loader has a cache, which holds the whole set.
        """
        from sharding.reading.shard_set import ShardSet
        from sharding.stores.node_cache import CacheSettings

        settings = CacheSettings(folder=str(self.cache), limit_bytes=10**12) if cached else None
        with link(self.server, self.port, *options) as between:
            samples = ShardSet(URL, cache=settings)
            # Every sample is read once: an epoch would leave out a tail of less than a batch, each epoch another one.
            for row in range(len(samples)) if cached else ():
                samples.reader.read_stored([row], ("image", "depth", "valid"))
            if cached:
                os.sync()  # otherwise the disk is still writing the cache while the epochs are timed
            yield watch(samples, self.config), between

    def warm_up(self) -> None:
        """Start the local workers, and let the server hash its objects, as it does at the first request for each."""
        from sharding.reading.shard_set import ShardSet

        self.local.run(0)
        with link(self.server, self.port):
            samples = ShardSet(URL)
            for shard in samples.manifest.shards:
                samples.reader.store.size(shard.name)

    def paced(self, loader: "Watched") -> list["EpochFigures"]:
        """Run epochs from 0 on, each paced by the same epoch from the local folder right before."""
        return [loader.run(epoch, PACE * self.local.run(epoch).batch_s) for epoch in range(self.config.repeats)]

    def ratios(self, remote: "Watched", epochs: Sequence[int]) -> tuple[list[float], list["EpochFigures"]]:
        """Return the remote speed over the local one in each epoch, and the remote epochs.

        The two run one after the other, and the first alternates, so that the state of the machine (caches, clock rate)
        favours neither.
        """
        ratios, seen = [], []
        for number, epoch in enumerate(epochs):
            order = (remote, self.local) if number % 2 == 0 else (self.local, remote)
            ran = {loader: loader.run(epoch) for loader in order}
            ratios.append(ran[remote].rate / ran[self.local].rate)
            seen.append(ran[remote])
        return ratios, seen


def summarize_values(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the median under a name, and [least, largest] value under the name with `_spread`."""
    return {name: statistics.median(values), f"{name}_spread": [min(values), max(values)]}


def watch(samples: "ShardSet", config: BenchStoreConfig) -> "Watched":
    """Make the measured loader of a set."""
    from store_bench.epochs import Watched

    return Watched(samples, config.batch_size, config.num_workers, config.height)


def measure(config: BenchStoreConfig, target: Path, server: int, port: int, cache: Path) -> dict[str, Any]:
    """Measure all figures of the set in the folder `target`, which the S3 server at port `server` serves as `URL`.

    Raises:
        DataError: An epoch from the store differs from the local one.
    """
    from sharding.reading.shard_set import ShardSet
    from training.loading.read_ahead import AHEAD_BYTES, THREADS

    samples = ShardSet(target)
    bench = StoreBench(config=config, local=watch(samples, config), server=server, port=port, cache=cache)
    bench.warm_up()
    paced = bench.paced(bench.local)
    # The checksums of epoch 0, and the keys of all paced epochs.
    reference = [bench.local.run(0, check=True), *paced[1:]]
    figures: dict[str, Any] = {
        "samples": paced[0].samples,
        "bytes_per_sample": round(stored_bytes(samples) / len(samples)),
        "local_samples_per_s": bench.local.run(1).rate,
        **waiting("local", paced),
        "inflight_bytes_bound": AHEAD_BYTES,
        "inflight_requests_bound": THREADS,
    }
    for part in (measure_latency, measure_faults, measure_loopback, measure_narrow, measure_cache):
        say(f"{part.__name__.removeprefix('measure_')} ...")
        figures |= part(bench, reference)
    return figures


def stored_bytes(samples: "ShardSet") -> int:
    """Sum the stored bytes of image, depth and valid of all samples."""
    return int(samples.index[["image_bytes", "depth_bytes", "valid_bytes"]].to_numpy().sum())


def measure_latency(bench: StoreBench, reference: "list[EpochFigures]") -> dict[str, Any]:
    """Measure with 50 ms for each request; also memory over some epochs."""
    from training.loading.read_ahead import AHEAD_BYTES

    with bench.through("--latency-ms", "50") as (remote, between):
        paced = bench.paced(remote)
        require_same(paced, reference)
        before = between.counts()
        ratios, epochs = bench.ratios(remote, range(1, bench.config.epochs + 1))
        after = between.counts()
        require_same([remote.run(0, check=True)], reference)
    return {
        **waiting("latency50", paced),
        "first_batch_s": max(one.first_batch_s for one in paced),
        **summarize_values("latency50_over_local", ratios),
        "rss_growth": growth([one.pss for one in epochs]),
        "rss_max_over_first": max(one.pss for one in epochs) / epochs[0].pss,
        "workers_pss_bytes": [one.pss for one in epochs],
        "inflight_bytes_max": (most := max(one.in_flight for one in (*paced, *epochs))),
        "inflight_over_bound": most / AHEAD_BYTES,
        "requests_per_epoch": (after["requests"] - before["requests"]) / len(epochs),
        "bytes_per_epoch": (after["body_bytes"] - before["body_bytes"]) / len(epochs),
    }


def waiting(name: str, paced: "Sequence[EpochFigures]") -> dict[str, Any]:
    """Compute the share of the time that a paced consumer waited, without and with the first batch."""
    return {
        **summarize_values(f"{name}_wait_share", [one.wait_share for one in paced]),
        **summarize_values(f"{name}_wait_share_with_first", [one.wait_share_with_first for one in paced]),
    }


def growth(values: Sequence[int]) -> float:
    """Compute the relative growth, first to last, of the least-squares line through the values, which fluctuate."""
    # slope = sum((i - middle) value_i) / sum((i - middle)^2); the line is at the mean in the middle.
    middle = (len(values) - 1) / 2
    squares = sum((at - middle) ** 2 for at in range(len(values))) or 1.0
    slope = sum((at - middle) * value for at, value in enumerate(values)) / squares
    return slope * (len(values) - 1) / (statistics.mean(values) - slope * middle)


def measure_faults(bench: StoreBench, reference: "list[EpochFigures]") -> dict[str, Any]:
    """Measure with 50 ms for each request, of which 5 % fail."""
    faults = ("--fault-rate", "0.05", "--faults", "500,reset,truncate", "--only", "/shards/")
    with bench.through("--latency-ms", "50", *faults) as (remote, between):
        paced = bench.paced(remote)
        require_same(paced, reference)
        ratios, _ = bench.ratios(remote, range(bench.config.repeats))
        counts = between.counts()
        require_same([remote.run(0, check=True)], reference)
    return {
        **waiting("faults5", paced),
        "faults5_first_batch_s": max(one.first_batch_s for one in paced),
        **summarize_values("faults5_over_local", ratios),
        "faults5_share_of_requests": sum(counts["faults"].values()) / counts["requests"],
        "faults5_counts": counts["faults"],
    }


def measure_loopback(bench: StoreBench, reference: "list[EpochFigures]") -> dict[str, Any]:
    """Measure with nothing added: the cost of the network stack; also the bytes of reading images alone."""
    from sharding.reading.shard_set import ShardSet

    with bench.through() as (remote, between):
        require_same([remote.run(0, check=True)], reference)
        ratios, epochs = bench.ratios(remote, range(bench.config.repeats))
        samples = ShardSet(URL)
        before = between.counts()["body_bytes"]
        read_images(samples)
        images = between.counts()["body_bytes"] - before
    local = [bench.local.run(epoch) for epoch in range(bench.config.repeats)]
    return {
        **summarize_values("loopback_over_local", ratios),
        "local_cpu_ms_per_sample": cpu_ms(local),
        "loopback_cpu_ms_per_sample": cpu_ms(epochs),
        "images_only_bytes_share": images / stored_bytes(samples),
    }


def cpu_ms(epochs: "Sequence[EpochFigures]") -> float:
    """Compute the workers' CPU time for a sample, ms: the median over epochs."""
    return 1000 * statistics.median(one.cpu_s / one.samples for one in epochs)


def read_images(samples: "ShardSet") -> None:
    """Read the images as pretraining does, each sample once, in this process."""
    from training.loading.images import ImageDataset
    from training.loading.loader import Loading, build_loader
    from training.loading.sampler import EvalSampler

    images = ImageDataset([samples])
    images.prepare(0)
    for _ in build_loader(images, EvalSampler(len(images), 8), Loading(batch_size=8), collate_fn=list):
        pass


def measure_narrow(bench: StoreBench, reference: "list[EpochFigures]") -> dict[str, Any]:
    """Measure with a link of 50 MB/s: the share of it that is used, and that the local speed would need."""
    with bench.through("--bandwidth", "50MB") as (remote, between):
        paced = remote.run(0, PACE * bench.local.run(0).batch_s)
        require_same([paced], reference)
        before = between.counts()["body_bytes"]
        epoch = remote.run(1)
        used = (between.counts()["body_bytes"] - before) / epoch.seconds / 50e6  # share of 50 MB/s
    local = bench.local.run(1)
    return {
        "link50_wait_share": paced.wait_share,
        "link50_share": used,
        "link50_share_at_local_speed": used * local.rate / epoch.rate,
    }


def measure_cache(bench: StoreBench, reference: "list[EpochFigures]") -> dict[str, Any]:
    """Measure epochs that are read from the cache alone."""
    with bench.through(cached=True) as (remote, between):
        require_same([remote.run(0, check=True)], reference)
        before = between.counts()["requests"]
        ratios, epochs = bench.ratios(remote, range(1, bench.config.cached_repeats + 1))
        requests = between.counts()["requests"] - before
    return {
        **summarize_values("cached_over_local", ratios),
        "cached_over_local_pairs": ratios,
        "cached_requests": requests,
        "cached_cpu_ms_per_sample": cpu_ms(epochs),
    }


def require_same(epochs: "Sequence[EpochFigures]", reference: "Sequence[EpochFigures]") -> None:
    """Check that each epoch has the keys of the local one, in the same order and once each.

    Pixels are compared where checksums were computed.

    Raises:
        DataError: An epoch differs.
    """
    for number, (epoch, local) in enumerate(zip(epochs, reference, strict=False)):
        if len(set(epoch.keys)) < len(epoch.keys):
            raise DataError(f"expected each sample once, found {len(set(epoch.keys))} of {len(epoch.keys)}")
        if epoch.keys != local.keys or (epoch.checksums and epoch.checksums != local.checksums):
            pairs = zip(epoch.checksums, local.checksums, strict=False)
            wrong = [at for at, (ours, theirs) in enumerate(pairs) if ours != theirs]
            raise DataError(f"expected the local epoch {number}, found other samples, or pixels in the batches {wrong}")
