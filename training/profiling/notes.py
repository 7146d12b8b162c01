"""How to read the figures of a profile, in sentences."""

from collections.abc import Mapping
from typing import Any

from sharding.stores.address import is_remote
from training.config import ProfileConfig
from training.profiling.bottleneck import percent
from training.profiling.work import Work

KEPT = 0.1
"""If more than this share of a shard stays in the page cache, a note warns that the cold figures are too good."""

BUSY = 0.9
"""Warping never waits: a smaller share of CPU time than this means that other processes had the core."""


def make_notes(work: Work, config: ProfileConfig, measured: Mapping[str, Any]) -> list[str]:
    """List notes on how to read the figures."""
    notes = [
        *_fetch_notes(work, measured),
        "stages and chain: one process, one thread, batches in memory that is used again, as a worker's is"
        + ("; batch: what is done for one beside its pixels" if work.paired else ""),
        "transfer: page-locked memory to the GPU, by the training process; it is not part of the chain"
        if measured["transfer"]
        else "transfer: this machine has no CUDA device, so there is none",
    ]
    if measured["consumer"]:
        notes.append(
            "consumer: CPU time of the training process's thread that takes the workers' batches and drops them; it is "
            "not part of the chain"
        )
    if work.batch_size < config.batch_size:
        notes.append(f"batches of {work.batch_size}, not of {config.batch_size}: {_lack(work, config)}")
    if not work.paired:
        deep = int((work.opened.rows["depth_ext"] != "").sum())
        some = f" ({deep} of {len(work.opened)} samples have depth: --where \"depth_ext != ''\")" if deep else ""
        notes.append(
            f"images only{some}, in views of the size that most of them have; the views of pretraining are "
            "LightlyTrain's, and not measured here"
        )
    if (got := measured["stages"]["warp_image"]["cpu_share"]) < BUSY:
        notes.append(f"busy machine: the warp had a core for {percent(got)} of its time; rates are too low for it")
    return notes


def _lack(work: Work, config: ProfileConfig) -> str:
    """Say why there are not enough samples for a batch."""
    if work.samples < config.samples:
        return f"the set has no more samples{' that --where selects' if config.where else ''}"
    return f"--samples {config.samples} are no more"


def _fetch_notes(work: Work, measured: Mapping[str, Any]) -> list[str]:
    cold = measured["cold"]
    if is_remote(work.opened.url):
        count = f"{measured['requests_per_sample']:.2f} requests a sample"
        ahead = "the workers read ahead, which hides its waiting, but not its time on the CPU"
        if cold is None:
            return [f"fetch: over the network, again each time, {count}; {ahead}"]
        return [f"fetch: from the cache; cold: over the network, {count}, and into the cache; {ahead}"]
    notes = [
        "fetch: from a warm page cache (each byte was read just before); cold: dropped from it first, as in a first "
        "epoch, or in each one if the set is larger than memory"
    ]
    if cold["kept_share"] > KEPT:
        notes.append(
            f"cold: this file system kept {percent(cold['kept_share'])} of a shard in memory although it was told to "
            "drop it, so the disk is slower than these figures"
        )
    return notes
