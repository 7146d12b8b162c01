"""The verdict of a profile: which stage bounds a worker, and what would help."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote

NAMES = {
    "fetch": "fetch",
    "check": "check (crc32c)",
    "inflate": "inflate (zstd)",
    "decode_image": "image decode",
    "decode_depth": "depth decode",
    "warp": "warp",
    "to_tensors": "to tensors",
    "collate": "collate",
}
"""Names of the stages, for users."""

DISK_HELPS = ("a faster disk", "a copy of the set on this machine")


def stays_cached(opened: ShardSet, memory_bytes: int) -> bool:
    """Return whether a second epoch finds what the first one read: a local set in memory, a remote one in its cache."""
    set_bytes = sum(shard.bytes for shard in opened.manifest.shards)
    if is_remote(opened.url):
        return opened.cache is not None and set_bytes <= opened.cache.limit_bytes
    return set_bytes <= memory_bytes


def shares_that_count(figures: Mapping[str, Any], cached: bool) -> dict[str, float]:
    """Return each stage's share, 0 to 1, of the time that training would take for a sample in one process.

    Usually the time of the warm chain; of the cold chain if the set does not stay cached. A set that is read over the
    network each time has no cold figures: then it is the time of the loader, which reads ahead, so that fetch counts
    only as far as the other stages do not fill that time.

    Args:
        figures: The JSON's figures.
        cached: See `stays_cached`.
    """
    shares = {name: one["share"] for name, one in figures["stages"].items()}
    chain, cold, workers = figures["chain"]["ms_per_sample"], figures["cold"], figures["workers"]
    if cold is None and workers is not None:
        # ms per sample: of a loader without workers, and what of it the stages other than fetch leave.
        alone = workers["ms_per_sample"] * workers["ratio"]["median"]
        left = max(0.0, alone - chain * (1 - shares["fetch"]))
        # What the other stages leave of the loader's time is fetching that reading ahead did not hide.
        return {name: share * chain / alone for name, share in shares.items()} | {"fetch": left / alone}
    if cold is None or cached:
        return shares
    slower = chain / cold["chain"]["ms_per_sample"]  # only fetch differs: the other shares shrink with a longer chain
    return {name: share * slower for name, share in shares.items()} | {"fetch": cold["fetch"]["share"]}


def judge(
    shares: Mapping[str, float], extensions: Collection[str], fetch_helps: Sequence[str] = DISK_HELPS
) -> dict[str, Any]:
    """Find the stage that bounds a worker, and what would help.

    Args:
        shares: Shares of the time, by stage; see `shares_that_count`.
        extensions: Extensions of the image and depth parts of the set: what helps depends on how it is encoded.
        fetch_helps: What makes reading faster, where the set is; see `helps_fetch`.

    Returns:
        The stage, its share, and the verdict as a sentence.
    """
    stage = max(shares, key=lambda name: shares[name])
    helps = list(fetch_helps) if stage == "fetch" else _helps(stage, extensions)
    listed = helps[0] if len(helps) == 1 else f"{', '.join(helps[:-1])}, or {helps[-1]}"
    text = f"{NAMES[stage]} takes {percent(shares[stage])} of a worker's time: {listed} would help"
    return {"stage": stage, "share": shares[stage], "text": text}


def helps_fetch(opened: ShardSet, cached: bool) -> Sequence[str]:
    """List what makes reading a set faster; `cached` is whether a second epoch finds it in a cache."""
    if not is_remote(opened.url):
        return DISK_HELPS
    if cached:
        return ["a faster disk under the cache"]
    larger = "a larger cache (--cache-size)" if opened.cache else "a cache on this machine (--cache DIR)"
    return [larger, "more workers, since each has its own requests in flight", "a copy of the set on this machine"]


def _helps(stage: str, extensions: Collection[str]) -> list[str]:
    """List what makes a stage cheaper, or loading faster in spite of it."""
    if stage in ("warp", "to_tensors", "collate"):
        return ["more workers on free cores", "a smaller crop (--height, --width)"]
    other = {
        "inflate": ({"rows.npy", "ppm", "planes.npy", "log16.npy", "npy"}, ["--compression none (more bytes to read)"]),
        "decode_image": ({"png"}, ["the compact preset (JPEG)"]),
        "decode_depth": ({"log16.png"}, ["a set made again (byte planes decode faster)"]),
    }
    encoded, preset = other.get(stage, (set[str](), list[str]()))
    smaller = ["smaller images (shard megadepth --max-side)"] if stage == "decode_image" else []
    return ["more workers on free cores", *([] if encoded.isdisjoint(extensions) else preset), *smaller]


def percent(share: float | None) -> str:
    """Format a share, 0 to 1, as "42 %"; None as ""."""
    return "" if share is None else f"{100 * share:.0f} %"
