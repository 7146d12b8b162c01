"""Measure each stage of loading a set, and the ceiling that none can pass: the JSON on stdout, the table on stderr.

    python scripts/profile_throughput.py SET [--where EXPR] [--samples N] [--repeats N] [--num-workers N] > figures.json

`depthstream profile` and a ladder: how fast the bytes come when nothing is done with them. Of a folder that is reading
the shards of the samples from end to end (at most 2 GB of them), after the page cache dropped them (cold) and again
(warm), as `cat` does. Of a URL it is getting the very ranges of the samples with 32 threads, without a cache.

The JSON is that of `training.profiling.profile`, and in it

    ceiling    {warm, cold or null: figures, of_stage: {STAGE: share}}: figures have bytes, threads, mb_per_s with
               mb_per_s_min and _max, medians over the repeats. of_stage: samples/s of each stage, of the chain, and of
               the workers, over those of the warm ceiling at the stored bytes of the samples; above 1 where a stage
               is faster than the bytes come
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
    from training.profiling.stages import Work

THREADS = 32
BLOCK_BYTES = 1 << 20
LIMIT_BYTES = 2_000_000_000
"""Of the files that are read from end to end."""


def run(config: ProfileConfig) -> Outcome:
    """Measure, and show the tables on stderr."""
    from training.profiling.profile import run as measure  # torch: not for --help
    from training.profiling.stages import plan_work

    outcome = measure(config)
    work = plan_work(ShardSet(config.set, config.where), config.samples, config.num_workers)
    ceiling = measure_ceiling(work, config.repeats)
    ceiling["of_stage"] = compare(outcome.data, ceiling["warm"]["mb_per_s"] * 1e6 * work.samples / work.stored_bytes)
    say(outcome.text)
    say(make_table(ceiling))
    return Outcome(data=outcome.data | {"ceiling": ceiling}, text=outcome.text)


def measure_ceiling(work: "Work", repeats: int) -> dict[str, Any]:
    """Read the bytes, and nothing else, as often as that; of a folder cold and warm in turn."""
    from training.profiling.pagecache import drop_pages

    if is_remote(work.opened.url):
        return {"warm": time_reading(partial(get_ranges, work), repeats, THREADS), "cold": None}
    files = choose_files(work)
    read = partial(read_files, files)

    def forget() -> None:
        for path in files:
            drop_pages(path)

    return {"cold": time_reading(read, repeats, 1, forget), "warm": time_reading(read, repeats, 1, read)}


def time_reading(
    read: Callable[[], int], repeats: int, threads: int, prepare: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Read several times over, after some preparation each time; `read` returns the number of bytes."""
    from training.profiling.stopwatch import time_once

    size, rates = 0, []
    for _ in range(repeats):
        prepare()
        sizes: list[int] = []
        seconds = time_once(lambda sizes=sizes: sizes.append(read()))[0]  # type: ignore[misc]
        size = sizes[0]
        rates.append(size / seconds / 1e6)
    spread = {"mb_per_s_min": min(rates), "mb_per_s_max": max(rates)}
    return {"bytes": size, "threads": threads, "mb_per_s": statistics.median(rates)} | spread


def choose_files(work: "Work") -> list[Path]:
    """The shards of the samples, the first ones that have `LIMIT_BYTES` together."""
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
            while count := os.readv(file, [block]):
                total += count
        finally:
            os.close(file)
    return total


def get_ranges(work: "Work") -> int:
    """Get the ranges of the samples side by side; return their bytes."""
    from training.profiling.requests import ranges_by_shard

    store = work.opened.reader.store
    spans = [(name, span) for name, ranges in ranges_by_shard(work, work.rows().tolist()).items() for span in ranges]
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(lambda one: len(store.read(one[0], [one[1]])[0]), spans))


def compare(data: Mapping[str, Any], samples_per_s: float) -> dict[str, float]:
    """Samples/s of each stage over those of the ceiling."""
    rows = dict(data["stages"]) | {"chain": data["chain"], "workers": data["workers"]}
    return {name: one["samples_per_s"] / samples_per_s for name, one in rows.items() if one is not None}


def make_table(ceiling: Mapping[str, Any]) -> str:
    """What a person reads."""
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
    command = next(one for one in COMMANDS if one.name == "profile")
    here = replace(command, runner=f"{__name__}:run")
    return run_program("depthstream", __doc__, [here], [command.name, "--json", *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
