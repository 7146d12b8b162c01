"""Measure each stage of loading a set, and the ceiling of reading alone: the JSON on stdout, the tables on stderr.

    python scripts/profile_throughput.py SET [--where EXPR] [--samples N] [--height PX] ... > figures.json

This is `depthstream profile`, with its options, and a ceiling: how fast the bytes are read when nothing is done with
them. For a folder, the shards of the samples (about 2 GB of them at most) are read from end to end, as `cat` does,
after the page cache has dropped them (cold) and again (warm). For a URL, exactly the ranges of the samples are read
with 32 threads, without a cache.

The JSON is that of `training.profiling.profile`, and in it

    ceiling    {warm, cold or null: figures, of_stage: {STAGE: share}}: figures have bytes, threads, mb_per_s with
               mb_per_s_min and _max, medians over the repeats. of_stage: samples/s of each stage, of the chain, and of
               the workers, over those of the warm ceiling at the stored bytes of the samples; above 1 where a stage
               is faster than reading
"""

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.cli import Outcome
from sharding.cli import main as run_program
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.commands import COMMANDS
from training.config import ProfileConfig

if TYPE_CHECKING:
    from training.profiling.work import Work

READ_THREADS = 32
BLOCK_BYTES = 1 << 20
LIMIT_BYTES = 2_000_000_000
"""Bytes of files after which no further file is added to those that are read from end to end."""


def run(config: ProfileConfig) -> Outcome:
    """Measure, and show the tables on stderr.

    Raises:
        DataError: The set does not exist, or a sample cannot be read.
        UsageError: A count is too small, or the query selects nothing.
    """
    from training.profiling.profile import run as measure  # imports torch, which --help does not need
    from training.profiling.work import plan_work

    outcome = measure(config)
    work = plan_work(ShardSet(config.set, config.where), config)
    ceiling = measure_ceiling(work, config.repeats)
    # Bytes a second of the ceiling / stored bytes a sample = samples a second.
    ceiling["of_stage"] = compare(outcome.data, ceiling["warm"]["mb_per_s"] * 1e6 * work.samples / work.stored_bytes)
    say(outcome.text)
    say(make_table(ceiling))
    return Outcome(data=outcome.data | {"ceiling": ceiling}, text=outcome.text)


def measure_ceiling(work: "Work", repeats: int) -> dict[str, Any]:
    """Time reading the bytes and nothing else, `repeats` times; for a folder first cold, then warm."""
    from training.profiling.pagecache import drop_pages

    if is_remote(work.opened.url):
        return {"warm": time_reading(partial(get_ranges, work), repeats, READ_THREADS), "cold": None}
    files = choose_files(work)
    read = partial(read_files, files)

    def forget() -> None:
        for path in files:
            drop_pages(path)

    return {"cold": time_reading(read, repeats, 1, forget), "warm": time_reading(read, repeats, 1, read)}


def time_reading(
    read: Callable[[], int], repeats: int, threads: int, prepare: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Time `read`, which returns its number of bytes, `repeats` times, each after a call of `prepare` not timed."""
    from training.profiling.stopwatch import time_once

    size, rates = 0, []
    for _ in range(repeats):
        prepare()
        sizes: list[int] = []  # time_once returns times alone
        seconds = time_once(lambda sizes=sizes: sizes.append(read()))[0]  # type: ignore[misc]
        size = sizes[0]
        rates.append(size / seconds / 1e6)
    spread = {"mb_per_s_min": min(rates), "mb_per_s_max": max(rates)}
    return {"bytes": size, "threads": threads, "mb_per_s": statistics.median(rates)} | spread


def choose_files(work: "Work") -> list[Path]:
    """Return local paths of the samples' shards: the first ones, until they have `LIMIT_BYTES` together."""
    from training.profiling.requests import ranges_by_shard

    store, chosen, total = work.opened.reader.store, [], 0
    for name in ranges_by_shard(work, work.rows().tolist()):
        if (path := store.local_path(name)) is not None and total < LIMIT_BYTES:
            chosen.append(path)
            total += path.stat().st_size
    return chosen


def read_files(files: Sequence[Path]) -> int:
    """Read files from end to end into one block of memory; return their bytes."""
    block, total = bytearray(BLOCK_BYTES), 0
    for path in files:
        file = os.open(path, os.O_RDONLY)
        try:
            while count := os.readv(file, [block]):  # each read overwrites the one before
                total += count
        finally:
            os.close(file)
    return total


def get_ranges(work: "Work") -> int:
    """Read the ranges of the samples in parallel; return their bytes."""
    from training.profiling.requests import ranges_by_shard

    store = work.opened.reader.store
    spans = [(name, span) for name, ranges in ranges_by_shard(work, work.rows().tolist()).items() for span in ranges]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return sum(pool.map(lambda one: len(store.read(one[0], [one[1]])[0]), spans))


def compare(data: Mapping[str, Any], samples_per_s: float) -> dict[str, float]:
    """Divide the samples/s of each stage by those of the ceiling."""
    rows = dict(data["stages"]) | {"chain": data["chain"], "workers": data["workers"]}
    return {name: one["samples_per_s"] / samples_per_s for name, one in rows.items() if one is not None}


def make_table(ceiling: Mapping[str, Any]) -> str:
    """Format the ceiling as text."""
    lines = [
        f"ceiling, {name}: {one['mb_per_s']:.1f} MB/s ({one['mb_per_s_min']:.1f} - {one['mb_per_s_max']:.1f}), "
        f"{one['bytes'] / 1e6:.1f} MB with {one['threads']} threads, to nowhere"
        for name in ("cold", "warm")
        if (one := ceiling[name]) is not None
    ]
    shares = [f"  {name:<15}{100 * share:>8.1f} %" for name, share in ceiling["of_stage"].items()]
    return "\n".join([*lines, "samples/s over those of the warm ceiling:", *shares])


def main(argv: Sequence[str]) -> int:
    """Run with the options of `depthstream profile` and return its exit status."""
    profile = next(one for one in COMMANDS if one.name == "profile")
    name = "scripts/profile_throughput.py"
    command = replace(
        profile,
        name=name,
        runner=f"{__name__}:run",
        help="measure each stage of loading, and the ceiling of reading alone; JSON on stdout, tables on stderr",
        examples=(f"{name} sets/diode-train > figures.json", f"{name} s3://bucket/set --samples 200 > figures.json"),
    )
    return run_program("python", __doc__, [command], [name, "--json", *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
