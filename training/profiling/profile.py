"""The command `profile`: what each stage of loading costs, alone and together, and what bounds the rate.

Of a set with depth, the views and batches are those of `finetune`, made by the functions that make them there.

Its JSON object:

    set, name, identity, where     what was measured: as given, and as in the manifest
    samples                        number of samples that every stage was timed on; the loaders of `workers` may take
                                   more, so that each worker makes several batches
    parts                          parts that were read: image, or image, depth, valid
    view_px                        [height, width] of the views
    view                           how the views are drawn: the fields of training.loading.augment.PairedAugment
    batch_size                     number of samples of a batch: that of --batch-size, or `samples` if these are fewer
    repeats, num_workers
    stages                         {STAGE: figures}, of training.profiling.stages.STAGES: decode_depth, warp_depth and
                                   batch only with depth, to_tensors and collate only without
    chain                          figures of the whole, in this process, which makes batches as a worker does
    workers                        figures of the whole through num_workers processes, and `ratio`; null without workers
    consumer                       figures of the training process while it takes the batches of these workers: the time
                                   is that of the CPU, of the thread that maps, looks at and drops them, and the bytes
                                   are those of the batches; its `cpu_share` and `share` null; null without workers
    cold                           {fetch, chain: figures, kept_share}: after the caches dropped the samples; null for a
                                   remote set without --cache. kept_share: share of a local shard, the largest,
                                   that the page cache did not drop
    transfer                       figures of copying a batch to the GPU, its `share` null; null without a CUDA device
    requests_per_sample            requests to the server per sample, without cache and retries; null for a local set
    rest_share                     share of the chain's time that no stage accounts for; negative if the stages add up
                                   to more, by noise or by what it takes to time them
    verdict                        {stage, share, text}: the stage with the largest share, of the chain's time, warm or
                                   cold, or of the loader's (training.profiling.bottleneck.shares_that_count); or
                                   consumer, if it takes longer for a sample than the workers, of which no more run than
                                   there are cores, and its share of the time between two samples
    notes                          sentences on how to read the figures
    machine                        {cpus, load, python, packages: {NAME: version}}; cpus: those that this process may
                                   use; load: 1-minute average at the start

Figures: `samples`; `samples_per_s` and `mb_per_s` (1 MB = 10^6 bytes); `bytes_are`, which bytes those are (stored: as
in the shard; payload: the sample's files, inflated; decoded: arrays); `ms_per_sample`, wall clock, with
`ms_per_sample_min` and `_max`; `cpu_share`, this process's CPU time over wall clock; `share` of the chain's time (both
null for workers). Rates, times and shares are medians over the repeats. `ratio` is {median, min, max}: samples/s of a
DataLoader with workers over those of one in this process, which makes batches as a worker does, turn by turn.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from sharding.cli import Outcome
from sharding.options import checked
from sharding.reading.shard_set import ShardSet
from training.config import ProfileConfig
from training.depth_sets.crops import announce_small_images
from training.loading.shared_blocks import as_worker
from training.profiling.bottleneck import Setting, helps_fetch, judge, stays_cached
from training.profiling.cold_reads import Cold, time_cold
from training.profiling.loaders import LoaderTimes, time_loaders
from training.profiling.notes import make_notes
from training.profiling.requests import requests_per_sample
from training.profiling.stages import CHAIN, STAGES, Held, time_stages
from training.profiling.stopwatch import Timing, one_thread
from training.profiling.table import make_table
from training.profiling.transfer import time_transfer
from training.profiling.work import Work, check_room, plan_work
from training.run_files import find_versions
from training.set_options import cache_settings

STAGE_PACKAGES = ("torch", "numpy", "pillow", "zstandard", "google-crc32c", "opencv-python-headless")
"""Packages that do the work of the stages; their versions are reported."""


def run(config: ProfileConfig) -> Outcome:
    """Run `depthstream profile`.

    Raises:
        UsageError: An option has an impossible value or no effect, `where` selects nothing, or there is no room for the
            workers' batches in shared memory.
        DataError: There is no such set, or a sample is damaged.
    """
    config = checked(config)
    machine = _machine()  # before the work, which would add to the load average
    opened = ShardSet(config.set, config.where, cache_settings(config))
    work = plan_work(opened, config)
    check_room(work, config.num_workers)
    if work.paired:
        announce_small_images(config, opened)
    with one_thread():
        with as_worker():
            timings, cold = time_stages(work, config.repeats), time_cold(work, config.repeats)
            transfer = time_transfer(work, config.repeats, _device())
        loaders = time_loaders(work, config.repeats, config.num_workers) if config.num_workers else None
    measured = _figures(timings, loaders) | _more_figures(timings[CHAIN], cold, transfer)
    measured["requests_per_sample"] = requests_per_sample(work)
    verdict = _judge(work, config, measured, machine["cpus"])
    notes = make_notes(work, config, measured)
    data = _facts(work, config) | measured | {"verdict": verdict, "notes": notes, "machine": machine}
    return Outcome(data=data, text=make_table(data))


def _judge(work: Work, config: ProfileConfig, measured: Mapping[str, Any], cores: int) -> dict[str, Any]:
    cached = stays_cached(work.opened, _memory_bytes())
    setting = Setting(
        num_workers=config.num_workers,
        cores=cores,
        paired=work.paired,
        extensions=_extensions(work),
        fetch_helps=helps_fetch(work.opened, cached),
    )
    return judge(measured, cached, setting)


def _device() -> torch.device:
    """Return the device that batches are copied to."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def count_cores() -> int:
    """Count the cores that this process, and so its workers, may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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
        "view_px": list(work.view.size),
        "view": asdict(work.view),
        "batch_size": work.batch_size,
        "repeats": config.repeats,
        "num_workers": config.num_workers,
    }


def _figures(timings: Mapping[str, Timing], loaders: LoaderTimes | None) -> dict[str, Any]:
    chain = timings[CHAIN]
    stages = {name: figures(timings[name], chain, held) for name, held in STAGES.items() if name in timings}
    return {
        "stages": stages,
        "chain": figures(chain, chain, "stored"),
        "workers": loaders
        and figures(loaders.workers, chain, "stored")
        | {"share": None, "ratio": speed_up(loaders.alone, loaders.workers)},
        "consumer": loaders and figures(loaders.consumer, chain, "decoded") | {"share": None},
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
    return {ext for part in work.parts for ext in work.opened.rows[f"{part}_ext"].unique()}


def _machine() -> dict[str, Any]:
    packages = find_versions(STAGE_PACKAGES)
    return {
        "cpus": count_cores(),
        "load": os.getloadavg()[0],
        "python": packages.pop("python"),
        "packages": packages,
    }
