"""The command `profile`: what each stage of loading costs, alone and together, and which one bounds a worker.

Its JSON object:

    set, name, identity, where     what was measured: as given, and as in the manifest
    samples                        number of samples that every stage was timed on
    parts                          parts that were read: image, or image, depth, valid
    view_px                        [height, width] of the views that the warp makes
    batch_size, repeats, num_workers
    stages                         {STAGE: figures}, of training.profiling.stages.STAGES; for depth only if it was read
    chain                          figures of the whole, in this process without workers
    workers                        figures of the whole through num_workers processes, and `ratio`; null without workers
    cold                           {fetch, chain: figures, kept_share}: after the caches dropped the samples; null for a
                                   remote set without --cache. kept_share: share of a local shard, the largest,
                                   that the page cache did not drop
    transfer                       figures of copying a batch to the GPU, its `share` null; null without a CUDA device
    requests_per_sample            requests to the server per sample, without cache and retries; null for a local set
    rest_share                     share of the chain's time that no stage accounts for; negative if the stages add up
                                   to more: noise, or memory that the chain uses again and a stage alone does not
    verdict                        {stage, share, text}: the stage with the largest share, of the chain's time, warm or
                                   cold, or of the loader's (training.profiling.bottleneck.shares_that_count)
    notes                          sentences on how to read the figures
    machine                        {cpus, load, python, packages: {NAME: version}}; load: 1-minute average at the start

Figures: `samples`; `samples_per_s` and `mb_per_s` (1 MB = 10^6 bytes); `bytes_are`, which bytes those are (stored: as
in the shard; payload: the sample's files, inflated; decoded: arrays); `ms_per_sample`, wall clock, with
`ms_per_sample_min` and `_max`; `cpu_share`, this process's CPU time over wall clock; `share` of the chain's time (both
null for workers). Rates, times and shares are medians over the repeats. `ratio` is {median, min, max}: samples/s of a
DataLoader with workers over those of one without, turn by turn.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sharding.cli import Outcome
from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.config import ProfileConfig
from training.profiling.bottleneck import NAMES, helps_fetch, judge, percent, shares_that_count, stays_cached
from training.profiling.cold_reads import Cold, time_cold
from training.profiling.requests import requests_per_sample
from training.profiling.stages import CHAIN, STAGES, Held, Work, plan_work, time_loaders, time_stages
from training.profiling.stopwatch import Timing, one_thread
from training.profiling.transfer import time_transfer
from training.run_files import find_versions
from training.set_options import cache_settings

STAGE_PACKAGES = ("torch", "numpy", "pillow", "zstandard", "google-crc32c", "opencv-python-headless")
"""Packages that do the work of the stages; their versions are reported."""

KEPT = 0.1
"""If more than this share of a shard stays in the page cache, a note warns that the cold figures are too good."""

BUSY = 0.9
"""Decoding never waits: a smaller share of CPU time than this means that other processes had the core."""


def run(config: ProfileConfig) -> Outcome:
    """Run `depthstream profile`.

    Raises:
        UsageError: A count is too small, or `where` selects nothing.
        DataError: There is no such set, or a sample is damaged.
    """
    for name, least in (("samples", 1), ("repeats", 1), ("num_workers", 0)):
        if (value := getattr(config, name)) < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected {least} or more, found {value}")
    machine = _machine()  # before the work, which would add to the load average
    opened = ShardSet(config.set, config.where, cache_settings(config))
    work = plan_work(opened, config.samples, config.num_workers)
    with one_thread():
        timings, cold = time_stages(work, config.repeats), time_cold(work, config.repeats)
        transfer = time_transfer(work, config.repeats, _device())
        loaders = time_loaders(work, config.repeats, config.num_workers) if config.num_workers else None
    measured = _figures(timings, loaders) | _more_figures(timings[CHAIN], cold, transfer)
    measured["requests_per_sample"] = requests_per_sample(work)
    cached = stays_cached(opened, _memory_bytes())
    verdict = judge(shares_that_count(measured, cached), _extensions(work), helps_fetch(opened, cached))
    data = _facts(work, config) | measured | {"verdict": verdict, "notes": _notes(work, measured), "machine": machine}
    return Outcome(data=data, text=_text(data))


def _device() -> torch.device:
    """Return the device that batches are copied to."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _memory_bytes() -> int:
    """Return the memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _facts(work: Work, config: ProfileConfig) -> dict[str, Any]:
    """Collect what was measured, and how."""
    manifest = work.opened.manifest
    return {
        "set": work.opened.url,
        "name": manifest.name,
        "identity": manifest.identity,
        "where": config.where,
        "samples": work.samples,
        "parts": list(work.parts),
        "view_px": [work.view.height, work.view.width],
        "batch_size": work.batch_size,
        "repeats": config.repeats,
        "num_workers": config.num_workers,
    }


def _figures(timings: Mapping[str, Timing], loaders: tuple[Timing, Timing] | None) -> dict[str, Any]:
    chain = timings[CHAIN]
    stages = {name: figures(timings[name], chain, held) for name, held in STAGES.items() if name in timings}
    # `|` binds tighter than `and`: None without loaders, else the merged figures.
    workers = loaders and figures(loaders[1], chain, "stored") | {"share": None, "ratio": speed_up(*loaders)}
    return {
        "stages": stages,
        "chain": figures(chain, chain, "stored"),
        "workers": workers,
        "rest_share": 1 - sum(one["share"] for one in stages.values()),
    }


def _more_figures(chain: Timing, cold: Cold | None, transfer: Timing | None) -> dict[str, Any]:
    """Collect the figures that are not of the warm chain."""
    return {
        "cold": cold
        and {
            "fetch": figures(cold.fetch, cold.chain, "stored"),
            "chain": figures(cold.chain, cold.chain, "stored"),
            "kept_share": cold.kept_share,
        },
        "transfer": transfer and figures(transfer, chain, "decoded") | {"share": None},
    }


def figures(timing: Timing, chain: Timing, held: Held) -> dict[str, Any]:
    """Return what the JSON contains of a timing: rates, spread, and its share of the chain's time."""
    ms = 1000 / timing.samples  # from seconds of all samples to ms of one
    return {
        "samples": timing.samples,
        "samples_per_s": 1 / timing.per_sample_s,
        "mb_per_s": timing.bytes / timing.samples / timing.per_sample_s / 1e6,
        "bytes_are": held,
        "ms_per_sample": timing.per_sample_s * 1000,
        "ms_per_sample_min": min(timing.seconds) * ms,
        "ms_per_sample_max": max(timing.seconds) * ms,
        "cpu_share": timing.cpu_share,
        "share": timing.per_sample_s / chain.per_sample_s,
    }


def speed_up(alone: Timing, workers: Timing) -> dict[str, float]:
    """Compute how many times faster the workers were than one process: median, min and max over the turns."""
    # (turns,): both loaders were timed in each turn, so that the load of the machine falls on both.
    ratios = np.array(alone.seconds) / alone.samples / (np.array(workers.seconds) / workers.samples)
    return {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())}


def _extensions(work: Work) -> set[str]:
    """Return the extensions of the parts that are read."""
    return {ext for part in work.parts for ext in work.opened.index[f"{part}_ext"].unique()}


def _notes(work: Work, measured: Mapping[str, Any]) -> list[str]:
    """List notes on how to read the figures."""
    notes = [
        *_fetch_notes(work, measured),
        "stages and chain: one process, one thread; each stage works on a batch that the one before it made",
        "transfer: page-locked memory to the GPU, by the training process; it is not part of the chain"
        if measured["transfer"]
        else "transfer: this machine has no CUDA device, so there is none",
    ]
    if not work.paired:
        deep = int((work.opened.index["depth_ext"] != "").sum())
        some = f" ({deep} of {len(work.opened)} samples have depth: --where \"depth_ext != ''\")" if deep else ""
        notes.append(f"images only{some}; the views of pretraining are LightlyTrain's, and not measured here")
    if (got := measured["stages"]["decode_image"]["cpu_share"]) < BUSY:
        notes.append(f"busy machine: image decode had a core for {percent(got)} of its time; rates are too low for it")
    return notes


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


def _machine() -> dict[str, Any]:
    packages = find_versions(STAGE_PACKAGES)
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": packages.pop("python"),
        "packages": packages,
    }


def _text(data: Mapping[str, Any]) -> str:
    """Format the table for users, and under it the notes and the verdict."""
    title = (
        f"{data['set']}: {data['samples']} samples ({', '.join(data['parts'])}) of {data['view_px'][0]} x "
        f"{data['view_px'][1]} px in batches of {data['batch_size']}; medians of {data['repeats']} repeats"
    )
    # Columns as wide as those of `_row`.
    heads = f"{'samples/s':>10}{'MB/s':>9} {'of bytes':<9}{'ms/sample':>9}  {'min - max':<17}{'on CPU':>7}{'share':>7}"
    rows = [_row(NAMES[name], one) for name, one in data["stages"].items()]
    rows += [f"  {'(the rest)':<15}{percent(data['rest_share']):>70}", _row("whole chain", data["chain"])]
    if (cold := data["cold"]) is not None:
        rows += [_row("fetch, cold", cold["fetch"]), _row("chain, cold", cold["chain"])]
    if (transfer := data["transfer"]) is not None:
        rows.append(_row("transfer", transfer))
    if (workers := data["workers"]) is not None:
        ratio, count = workers["ratio"], f"{data['num_workers']} workers"
        spread = f"{ratio['median']:.2f} times a loader without workers ({ratio['min']:.2f} - {ratio['max']:.2f})"
        machine = f"{data['machine']['cpus']} cores (load {data['machine']['load']:.1f} when this began)"
        rows += [_row(count, workers), f"  {count} on {machine}: {spread}"]
    return "\n".join(
        [title, f"  {'stage':<15}{heads}", *rows, *(f"  {note}" for note in data["notes"]), data["verdict"]["text"]]
    )


def _row(name: str, one: Mapping[str, Any]) -> str:
    rates = f"{one['samples_per_s']:>10.1f}{one['mb_per_s']:>9.1f} {one['bytes_are']:<9}"
    spread = f"{one['ms_per_sample_min']:.3f} - {one['ms_per_sample_max']:.3f}"
    shares = f"{percent(one['cpu_share']):>7}{percent(one['share']):>7}"
    return f"  {name:<15}{rates}{one['ms_per_sample']:>9.3f}  {spread:<17}{shares}".rstrip()
