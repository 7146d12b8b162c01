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
    "decode_valid": "valid decode",
    "warp": "warp",
    "to_tensors": "to tensors",
    "collate": "collate",
}
"""What people read for each stage."""

DISK_HELPS = ("a faster disk", "a copy of the set on this machine")


def stays_cached(opened: ShardSet, memory_bytes: int) -> bool:
    """Whether a second epoch finds what the first one read: of a local set in memory, of a remote one in its cache."""
    set_bytes = sum(shard.bytes for shard in opened.manifest.shards)
    if is_remote(opened.url):
        return opened.cache is not None and set_bytes <= opened.cache.limit_bytes
    return set_bytes <= memory_bytes


def shares_that_count(told: Mapping[str, Any], cached: bool) -> dict[str, float]:
    """Each stage's share of the time that training would take for a sample in one process.

    Of the warm chain; of the cold one if no epoch finds the set in a cache; of a set that is read over the network
    each time, of the loader, which reads ahead: fetch has only what the others leave of its time.

    Args:
        told: The JSON's figures.
        cached: See `stays_cached`.
    """
    shares = {name: one["share"] for name, one in told["stages"].items()}
    chain, cold, workers = told["chain"]["ms_per_sample"], told["cold"], told["workers"]
    if cold is None and workers is not None:
        alone = workers["ms_per_sample"] * workers["ratio"]["median"]
        left = max(0.0, alone - chain * (1 - shares["fetch"]))
        return {name: share * chain / alone for name, share in shares.items()} | {"fetch": left / alone}
    if cold is None or cached:
        return shares
    slower = chain / cold["chain"]["ms_per_sample"]
    return {name: share * slower for name, share in shares.items()} | {"fetch": cold["fetch"]["share"]}


def judge(
    shares: Mapping[str, float], extensions: Collection[str], fetch_helps: Sequence[str] = DISK_HELPS
) -> dict[str, Any]:
    """Name the stage that bounds a worker, and say what would help.

    Args:
        shares: Of the chain's time, by stage.
        extensions: Of the image and depth parts of the set: what helps depends on how it is encoded.
        fetch_helps: What makes reading faster, where the set is.

    Returns:
        The stage, its share, and the verdict as a sentence.
    """
    stage = max(shares, key=lambda name: shares[name])
    helps = list(fetch_helps) if stage == "fetch" else _helps(stage, extensions)
    listed = helps[0] if len(helps) == 1 else f"{', '.join(helps[:-1])}, or {helps[-1]}"
    text = f"{NAMES[stage]} takes {percent(shares[stage])} of a worker's time: {listed} would help"
    return {"stage": stage, "share": shares[stage], "text": text}


def helps_fetch(opened: ShardSet, cached: bool) -> Sequence[str]:
    """What makes reading a set faster, whose second epoch finds it in a cache or does not."""
    if not is_remote(opened.url):
        return DISK_HELPS
    if cached:
        return ["a faster disk under the cache"]
    larger = "a larger cache (--cache-size)" if opened.cache else "a cache on this machine (--cache DIR)"
    return [larger, "more workers, since each has requests of its own under way", "a copy of the set on this machine"]


def _helps(stage: str, extensions: Collection[str]) -> list[str]:
    """What makes a stage cheaper, or the loading faster all the same."""
    if stage in ("warp", "to_tensors", "collate"):
        return ["more workers on free cores", "a smaller crop (--height, --width)"]
    other = {
        "inflate": ({"ppm", "planes.npy", "npy"}, ["--compression none (more bytes to read)"]),
        "decode_image": ({"png"}, ["the compact preset (JPEG)"]),
        "decode_depth": ({"log16.png"}, ["a set made anew (byte planes are decoded faster)"]),
    }
    encoded, preset = other.get(stage, (set[str](), list[str]()))
    smaller = ["smaller images (shard megadepth --max-side)"] if stage == "decode_image" else []
    return ["more workers on free cores", *([] if encoded.isdisjoint(extensions) else preset), *smaller]


def percent(share: float | None) -> str:
    """A share for people; "" for none."""
    return "" if share is None else f"{100 * share:.0f} %"
