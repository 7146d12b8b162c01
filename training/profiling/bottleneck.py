"""The verdict of a profile: what bounds the rate, a stage or the training process, and what would help."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote

NAMES = {
    "fetch": "fetch",
    "check": "check (crc32c)",
    "inflate": "inflate (zstd)",
    "decode_image": "image decode",
    "decode_depth": "depth decode",
    "warp_image": "warp image",
    "warp_depth": "warp depth",
    "batch": "batch",
    "to_tensors": "to tensors",
    "collate": "collate",
}
"""Names of the stages, for users."""

CONSUMER = "consumer"
"""What the training process does, in a verdict."""

DISK_HELPS = ("a faster disk", "a copy of the set on this machine")
SMALLER_IMAGES = "smaller images (shard megadepth --max-side)"


def stays_cached(opened: ShardSet, memory_bytes: int) -> bool:
    """Return whether a second epoch finds what the first one read: a local set in memory, a remote one in its cache."""
    set_bytes = sum(shard.bytes for shard in opened.manifest.shards)
    if is_remote(opened.url):
        return opened.cache is not None and set_bytes <= opened.cache.limit_bytes
    return set_bytes <= memory_bytes


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What it depends on which remedies there are.

    Attributes:
        num_workers: Number of loader processes.
        cores: Cores that this process, and so its workers, may use.
        paired: Whether views are those of fine-tuning.
        extensions: Extensions of the parts that are read: what helps depends on how they are encoded.
        fetch_helps: What makes reading faster, where the set is; see `helps_fetch`.
    """

    num_workers: int
    cores: int
    paired: bool
    extensions: Collection[str]
    fetch_helps: Sequence[str] = DISK_HELPS


def shares_that_count(figures: Mapping[str, Any], cached: bool) -> dict[str, float]:
    """Return each stage's share, 0 to 1, of the time that a worker takes for a sample.

    Usually the time of the warm chain; of the cold chain if the set does not stay cached. A set that is read over the
    network each time has no cold figures: then it is the time of the loader, which reads ahead, so that fetch counts
    only as far as the other stages do not fill that time.

    Args:
        figures: The JSON's figures.
        cached: See `stays_cached`.
    """
    shares = {name: one["share"] for name, one in figures["stages"].items()}
    chain, cold = figures["chain"]["ms_per_sample"], figures["cold"]
    whole = worker_ms(figures, cached)
    # Only fetch differs: the shares of the others shrink as the whole becomes longer.
    others = {name: share * chain / whole for name, share in shares.items() if name != "fetch"}
    if cold is None and figures["workers"] is not None:
        # What the other stages leave of the loader's time is fetching that reading ahead did not hide.
        return {"fetch": max(0.0, whole - chain * (1 - shares["fetch"])) / whole} | others
    return {"fetch": shares["fetch"] if cold is None or cached else cold["fetch"]["share"]} | others


def worker_ms(figures: Mapping[str, Any], cached: bool) -> float:
    """Return the milliseconds that a worker takes for a sample; see `shares_that_count`."""
    cold, workers = figures["cold"], figures["workers"]
    if cold is None and workers is not None:
        return float(workers["ms_per_sample"] * workers["ratio"]["median"])  # of the loader without workers
    return float((figures["chain"] if cold is None or cached else cold["chain"])["ms_per_sample"])


def judge(figures: Mapping[str, Any], cached: bool, setting: Setting) -> dict[str, Any]:
    """Find what bounds the rate, and what would help.

    Args:
        figures: The JSON's figures.
        cached: See `stays_cached`.
        setting: What remedies there are.

    Returns:
        The stage, and its share of a worker's time; or `CONSUMER`, and its share of the time between two samples; and
        the verdict as a sentence.
    """
    consumer = figures["consumer"]
    made_ms = worker_ms(figures, cached) / max(1, min(setting.num_workers, setting.cores))
    if consumer is not None and consumer["ms_per_sample"] > made_ms:
        share = min(1.0, consumer["ms_per_sample"] / figures["workers"]["ms_per_sample"])
        return _judge_consumer(consumer["ms_per_sample"], made_ms, setting) | {"share": share}
    return judge_stages(shares_that_count(figures, cached), setting)


def judge_stages(shares: Mapping[str, float], setting: Setting) -> dict[str, Any]:
    """Find the stage that bounds a worker, by the shares of its time, and what would help; see `judge`."""
    stage = max(shares, key=lambda name: shares[name])
    text = f"{NAMES[stage]} takes {percent(shares[stage])} of a worker's time: {_listed(_helps(stage, setting))}"
    return {"stage": stage, "share": shares[stage], "text": text}


def _judge_consumer(taken_ms: float, made_ms: float, setting: Setting) -> dict[str, Any]:
    helps = [_smaller_views(setting), _larger_batches(setting)]
    text = (
        f"the training process is the bottleneck: taking a sample from its workers costs it {taken_ms:.2f} ms of CPU, "
        f"and they make one every {made_ms:.2f} ms: {_listed(helps)}"
    )
    return {"stage": CONSUMER, "text": text}


def _listed(helps: Sequence[str]) -> str:
    return (helps[0] if len(helps) == 1 else f"{', '.join(helps[:-1])}, or {helps[-1]}") + " would help"


def helps_fetch(opened: ShardSet, cached: bool) -> Sequence[str]:
    """List what makes reading a set faster; `cached` is whether a second epoch finds it in a cache."""
    if not is_remote(opened.url):
        return DISK_HELPS
    if cached:
        return ["a faster disk under the cache"]
    larger = "a larger cache (--cache-size)" if opened.cache else "a cache on this machine (--cache DIR)"
    return [larger, "more workers, since each has its own requests in flight", "a copy of the set on this machine"]


def _helps(stage: str, setting: Setting) -> Sequence[str]:
    """List what makes a stage cheaper, or loading faster in spite of it."""
    if stage == "fetch":
        return setting.fetch_helps
    if stage == "batch":
        return [_larger_batches(setting)]
    if stage in ("to_tensors", "collate"):  # copying: more workers would share the same memory
        return [_smaller_views(setting)]
    if stage in ("warp_image", "warp_depth"):
        return [_more(setting), _smaller_views(setting)]
    other = {
        "inflate": ({"rows.npy", "ppm", "planes.npy", "log16.npy", "npy"}, ["--compression none (more bytes to read)"]),
        "decode_image": ({"png"}, ["the compact preset (JPEG)"]),
        "decode_depth": ({"log16.png"}, ["a set made again (byte planes decode faster)"]),
    }
    encoded, preset = other.get(stage, (set[str](), list[str]()))
    smaller = [SMALLER_IMAGES] if stage == "decode_image" else []
    return [_more(setting), *([] if encoded.isdisjoint(setting.extensions) else preset), *smaller]


def _more(setting: Setting) -> str:
    """Return what does the same work on more cores."""
    if setting.num_workers < setting.cores:
        return "more workers on free cores"
    return f"more cores (workers: {setting.num_workers}, cores: {setting.cores})"


def _smaller_views(setting: Setting) -> str:
    return "a smaller crop (--height, --width)" if setting.paired else SMALLER_IMAGES


def _larger_batches(setting: Setting) -> str:
    """Return what makes of all that is done once a batch less for a sample."""
    return f"larger batches ({'--micro-batch' if setting.paired else '--batch-size'})"


def percent(share: float | None) -> str:
    """Format a share, 0 to 1, as "42 %"; None as ""."""
    return "" if share is None else f"{100 * share:.0f} %"
