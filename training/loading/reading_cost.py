"""The cost of an epoch, printed once before it begins: samples, bytes, requests, and bytes in flight."""

from collections.abc import Sequence

import numpy as np

from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.loading.read_ahead import AHEAD_BYTES, THREADS

SAMPLED_ROWS = 1000
"""Samples whose ranges are counted, to estimate the requests of all."""


def announce_reading(
    samples: ShardSet,
    parts: Sequence[str],
    num_workers: int | None,
    draws: int | None = None,
    ahead_bytes: int = AHEAD_BYTES,
) -> None:
    """Print on stderr, on rank 0, what an epoch reads of a set, and what that costs if it is behind a URL.

    Args:
        samples: The set, or subset.
        parts: Names of the parts that are read of each sample, such as "image".
        num_workers: Loader processes of a rank; None: some.
        draws: Samples that an epoch draws from the set; None: each once.
        ahead_bytes: Bytes in flight per worker, if the set is behind a URL.
    """
    for line in describe_reading(samples, parts, num_workers, draws, ahead_bytes):
        say(line)


def describe_reading(
    samples: ShardSet,
    parts: Sequence[str],
    num_workers: int | None,
    draws: int | None = None,
    ahead_bytes: int = AHEAD_BYTES,
) -> list[str]:
    """Return the lines of `announce_reading`: one, and two more for a set behind a URL."""
    count = len(samples) if draws is None else draws
    share = count / len(samples)  # mean number of draws of a sample
    size = int(samples.rows[[f"{part}_bytes" for part in parts]].to_numpy().sum())
    name = samples.manifest.name
    lines = [
        f"{name}: {len(samples)} samples in {np.count_nonzero(samples.shard_sizes)} shards; an epoch reads {count} of "
        f"them, {format_bytes(size * share)} ({', '.join(parts)})"
    ]
    if not is_remote(samples.url):
        return lines
    requests = len(samples) * _ranges_per_sample(samples, parts)
    workers = describe_workers(num_workers)
    return [
        *lines,
        f"{name}: over the network, about {requests * share:.0f} requests and {format_bytes(size * share)} an epoch"
        + _with_cache(samples, share, size, requests),
        f"{name}: {workers} has at most {format_bytes(ahead_bytes)} in flight, {THREADS} requests at a time",
    ]


def _ranges_per_sample(samples: ShardSet, parts: Sequence[str]) -> float:
    """Estimate the byte ranges per sample: the mean over `SAMPLED_ROWS` samples spread evenly over the set."""
    rows = np.linspace(0, len(samples) - 1, min(len(samples), SAMPLED_ROWS)).astype(int).tolist()
    return sum(len(samples.reader.ranges(row, parts)) for row in rows) / len(rows)


def _with_cache(samples: ShardSet, share: float, size: int, requests: float) -> str:
    """Describe what is left to read once the cache is full.

    This assumes that no other set uses the cache, and that an epoch draws cached and other samples equally often.
    """
    if samples.cache is None:
        return ", and again in the next; --cache DIR keeps them on this machine"
    rest = share * max(0.0, 1 - samples.cache.limit_bytes / size)
    return (
        f"; from the second on about {requests * rest:.0f} and {format_bytes(size * rest)}: {samples.cache.folder} "
        f"caches up to {format_bytes(samples.cache.limit_bytes)}"
    )


def describe_workers(num_workers: int | None) -> str:
    """Say which process loads: "each of 4 workers", or "this process" without any; None: "each worker"."""
    if num_workers is None:
        return "each worker"
    return f"each of {num_workers} workers" if num_workers else "this process"


def format_bytes(size: float) -> str:
    """Format a number of bytes for messages, such as "1.3 GB" (decimal units)."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} KB"
