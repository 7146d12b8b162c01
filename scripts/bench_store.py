"""Measure the fine-tuning loader on an object store against a local folder, in one run on loopback.

A real S3 server (localbucket) and a link in front of it (`unreliable_link.py`) run in processes of their own, and share
the cores with the workers and the consumer: the consumer therefore sleeps its step, as one does whose GPU works. Paced,
it takes 1.3 times the local time a batch, measured with the same workers on the local folder right before; the time in
`next(loader)` is its waiting, all of it. Unpaced, it takes batches as they come, local and remote epochs in turn.
"""

import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store_server import Link, free_port, link, s3_server, use_endpoint

from sharding.command import Command, Outcome
from sharding.command import main as run_program
from sharding.errors import DataError, UsageError
from sharding.options import option
from sharding.progress import say
from sharding.shard import Compression

if TYPE_CHECKING:
    from store_epochs import Epoch, Watched

    from sharding.shardset import ShardSet

PACE = 1.3
"""What the consumer takes for a batch, in local times."""

BOUNDS = {
    "latency50_wait_share": ("at most", 0.05),
    "faults5_wait_share": ("at most", 0.10),
    "first_batch_s": ("at most", 3.0),
    "cached_over_local": ("at least", 0.95),
    "cached_requests": ("at most", 0),
    "rss_growth": ("at most", 0.05),
}
"""What is to be reached."""

URL = "s3://bucket/set"
_PACKAGES = ("torch", "obstore", "localbucket", "numpy", "zstandard", "opencv-python-headless")


@dataclass(frozen=True, kw_only=True)
class BenchStoreConfig:
    """Options of the measurement."""

    samples: int = option(240, "views of the set", metavar="N")
    height: int = option(480, "of the views; they are cropped to squares of it", metavar="PX")
    width: int = option(640, "of the views", metavar="PX")
    compression: Compression = option("zstd", "of the set")
    batch_size: int = option(8, "samples of a batch", metavar="N")
    num_workers: int = option(2, "loader processes", metavar="N")
    epochs: int = option(5, "epochs over which memory is watched, after a first one", metavar="N")
    repeats: int = option(3, "pairs of a local and a cached epoch", metavar="N")
    folder: str | None = option(None, "keep the set here, and use it again if it is there", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all measurements use.

    Attributes:
        config: Options.
        local: The loader of the local folder.
        server: Port of the server.
        port: Of the link, the same for all: workers take the address from the fork server, which began with it.
        cache: Empty folder.
    """

    config: BenchStoreConfig
    local: "Watched"
    server: int
    port: int
    cache: Path

    @contextmanager
    def through(self, *options: str, cached: bool = False) -> Iterator[tuple["Watched", Link]]:
        """The loader of the remote set, new, through a link with `options`; all of it in the cache if there is one."""
        from sharding.nodecache import CacheSettings
        from sharding.shardset import ShardSet

        settings = CacheSettings(folder=str(self.cache), limit_bytes=10**12) if cached else None
        with link(self.server, self.port, *options) as between:
            samples = ShardSet(URL, cache=settings)
            for row in range(len(samples)) if cached else ():  # all: an epoch leaves a tail out, each another one
                samples.reader.read_stored([row], ("image", "depth", "valid"))
            yield watch(samples, self.config), between

    def paced(self, remote: "Watched") -> "Epoch":
        """Epoch 0, paced by a local epoch right before."""
        return remote.run(0, PACE * self.local.run(0).batch_s, check=True)

    def ratio(self, remote: "Watched", epochs: Sequence[int]) -> tuple[float, list["Epoch"]]:
        """Median of the remote speed over the local one in each epoch, one after the other; and the remote epochs."""
        pairs = [(remote.run(epoch), self.local.run(epoch)) for epoch in epochs]
        return statistics.median(there.rate / here.rate for there, here in pairs), [there for there, _ in pairs]


def watch(samples: "ShardSet", config: BenchStoreConfig) -> "Watched":
    """The loader of a set."""
    from store_epochs import Watched

    return Watched(samples, config.batch_size, config.num_workers, config.height)


def run(config: BenchStoreConfig) -> Outcome:
    """Measure all.

    Raises:
        UsageError: There is not enough to measure, or the server is not installed.
        DataError: An epoch from the store is not the local one.
    """
    if config.samples < 4 * config.batch_size * config.num_workers or min(config.num_workers, config.epochs) < 1:
        raise UsageError("--samples: expected four batches a worker or more, at least one worker and one epoch")
    began, load, port = time.monotonic(), os.getloadavg()[0], free_port()
    use_endpoint(port)  # before the fork server is started
    with tempfile.TemporaryDirectory(prefix="bench-store-") as temporary:
        root = Path(config.folder or temporary)
        target = find_set(root, config)
        with s3_server(root) as server:
            figures = measure(config, target, server, port, Path(temporary) / "cache")
    figures |= {"seconds": round(time.monotonic() - began), "load_before": load, **describe_machine()}
    missed = [name for name, (side, bound) in BOUNDS.items() if not _holds(figures[name], side, bound)]
    return Outcome(data=figures | {"missed": missed}, text=table(figures, missed))


def find_set(root: Path, config: BenchStoreConfig) -> Path:
    """The set as `root/bucket/set`, made unless it is there."""
    from store_views import make_set

    target = root / "bucket" / "set"
    if not (target / "manifest.json").exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        make_set(target, config.samples, config.height, config.width, config.compression)
    return target


def measure(config: BenchStoreConfig, target: Path, server: int, port: int, cache: Path) -> dict[str, Any]:
    """All figures that depend on the machine."""
    from sharding.shardset import ShardSet
    from training.loading.lookahead import AHEAD_BYTES, THREADS

    samples = ShardSet(target)
    bench = Bench(config=config, local=watch(samples, config), server=server, port=port, cache=cache)
    bench.local.run(0)  # starts the workers
    reference = bench.paced(bench.local)
    figures: dict[str, Any] = {
        "samples": reference.samples,
        "bytes_per_sample": round(stored_bytes(samples) / len(samples)),
        "local_samples_per_s": bench.local.run(1).rate,
        "local_wait_share": reference.wait_share,
        "inflight_bytes_bound": AHEAD_BYTES,
        "inflight_requests_bound": THREADS,
    }
    for part in (measure_latency, measure_faults, measure_loopback, measure_narrow, measure_cache):
        say(f"{part.__name__.removeprefix('measure_')} ...")
        figures |= part(bench, reference)
    return figures


def stored_bytes(samples: "ShardSet") -> int:
    """Bytes of image, depth and valid of all samples."""
    return int(samples.index[["image_bytes", "depth_bytes", "valid_bytes"]].to_numpy().sum())


def measure_latency(bench: Bench, reference: "Epoch") -> dict[str, Any]:
    """50 ms for each request; and memory over some epochs."""
    with bench.through("--latency-ms", "50") as (remote, between):
        paced = bench.paced(remote)
        require_same(paced, reference)
        before = between.counts()
        ratio, epochs = bench.ratio(remote, range(1, bench.config.epochs + 1))
        after = between.counts()
    return {
        "latency50_wait_share": paced.wait_share,
        "latency50_wait_share_with_first": paced.wait_share_with_first,
        "first_batch_s": paced.first_batch_s,
        "latency50_over_local": ratio,
        "rss_growth": growth([one.pss for one in epochs]),
        "rss_max_over_first": max(one.pss for one in epochs) / epochs[0].pss,
        "workers_pss_bytes": [one.pss for one in epochs],
        "inflight_bytes_max": max(one.in_flight for one in (paced, *epochs)),
        "requests_per_epoch": (after["requests"] - before["requests"]) / len(epochs),
        "bytes_per_epoch": (after["body_bytes"] - before["body_bytes"]) / len(epochs),
    }


def growth(values: Sequence[int]) -> float:
    """How much the line through the values (least squares) grows, first to last: single ones go up and down."""
    middle = (len(values) - 1) / 2
    spread = sum((at - middle) ** 2 for at in range(len(values))) or 1.0
    slope = sum((at - middle) * value for at, value in enumerate(values)) / spread
    return slope * (len(values) - 1) / (statistics.mean(values) - slope * middle)


def measure_faults(bench: Bench, reference: "Epoch") -> dict[str, Any]:
    """50 ms for each request, of which 5 % fail."""
    faults = ("--fault-rate", "0.05", "--faults", "500,reset,truncate", "--only", "/shards/")
    with bench.through("--latency-ms", "50", *faults) as (remote, between):
        paced = bench.paced(remote)
        require_same(paced, reference)
        ratio, _ = bench.ratio(remote, [1])
        counts = between.counts()
    return {
        "faults5_wait_share": paced.wait_share,
        "faults5_wait_share_with_first": paced.wait_share_with_first,
        "faults5_first_batch_s": paced.first_batch_s,
        "faults5_over_local": ratio,
        "faults5_share_of_requests": sum(counts["faults"].values()) / counts["requests"],
        "faults5_counts": counts["faults"],
    }


def measure_loopback(bench: Bench, reference: "Epoch") -> dict[str, Any]:
    """Nothing added: what the way through the network stack costs; and the images alone."""
    from sharding.shardset import ShardSet

    with bench.through() as (remote, between):
        require_same(remote.run(0, check=True), reference)
        ratio, (there,) = bench.ratio(remote, [1])
        samples = ShardSet(URL)
        before = between.counts()["body_bytes"]
        read_images(samples)
        images = between.counts()["body_bytes"] - before
    here = bench.local.run(1)
    return {
        "loopback_over_local": ratio,
        "local_cpu_ms_per_sample": 1000 * here.cpu_s / here.samples,
        "loopback_cpu_ms_per_sample": 1000 * there.cpu_s / there.samples,
        "images_only_bytes_share": images / stored_bytes(samples),
    }


def read_images(samples: "ShardSet") -> None:
    """Read what pretraining reads, each sample once, in this process."""
    from training.loading.dataset import ImageDataset
    from training.loading.loader import Loading, build_loader
    from training.loading.sampler import EvalSampler

    images = ImageDataset([samples])
    images.prepare(0)
    for _ in build_loader(images, EvalSampler(len(images), 8), Loading(batch_size=8), collate_fn=list):
        pass


def measure_narrow(bench: Bench, reference: "Epoch") -> dict[str, Any]:
    """A link of 50 MB/s; what of it is used, and what the local speed would use of it."""
    with bench.through("--bandwidth", "50MB") as (remote, between):
        paced = bench.paced(remote)
        require_same(paced, reference)
        before = between.counts()["body_bytes"]
        epoch = remote.run(1)
        used = (between.counts()["body_bytes"] - before) / epoch.seconds / 50e6
    local = bench.local.run(1)
    return {
        "link50_wait_share": paced.wait_share,
        "link50_share": used,
        "link50_share_at_local_speed": used * local.rate / epoch.rate,
    }


def measure_cache(bench: Bench, reference: "Epoch") -> dict[str, Any]:
    """Epochs of which all is kept."""
    with bench.through(cached=True) as (remote, between):
        require_same(remote.run(0, check=True), reference)
        before = between.counts()["requests"]
        ratio, epochs = bench.ratio(remote, range(1, bench.config.repeats + 1))
        requests = between.counts()["requests"] - before
        again = remote.run(0, check=True)
    require_same(again, reference)
    return {
        "cached_over_local": ratio,
        "cached_requests": requests,
        "cached_cpu_ms_per_sample": 1000 * statistics.median(one.cpu_s / one.samples for one in epochs),
    }


def require_same(epoch: "Epoch", reference: "Epoch") -> None:
    """Every sample once but for the dropped tail, the same as locally, in the same order, pixel by pixel.

    Raises:
        DataError: It is not so.
    """
    if len(set(epoch.keys)) < len(epoch.keys):
        raise DataError(f"expected each sample once, found {len(set(epoch.keys))} of {len(epoch.keys)}")
    if epoch.keys != reference.keys or epoch.checksums != reference.checksums:
        wrong = [
            at for at, pair in enumerate(zip(epoch.checksums, reference.checksums, strict=False)) if len({*pair}) > 1
        ]
        raise DataError(f"expected the local epoch, found others in the batches {wrong}")


def _holds(value: float, side: str, bound: float) -> bool:
    return value <= bound if side == "at most" else value >= bound


def describe_machine() -> dict[str, Any]:
    """Where, when and with what this was measured."""
    model = next((line.split(": ")[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_after": os.getloadavg()[0],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", "scripts/bench_store.py", *sys.argv[1:]]),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def table(figures: dict[str, Any], missed: Sequence[str]) -> str:
    """A line a figure, with its bound."""
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
        "scripts/bench_store.py --height 768 --width 1024 --samples 128 --folder bench",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
