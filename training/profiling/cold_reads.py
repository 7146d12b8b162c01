"""What a first epoch costs: reading samples that no cache holds."""

from dataclasses import dataclass
from functools import partial

from sharding.progress import track
from sharding.stores.address import is_remote
from training.profiling.pagecache import drop_pages, resident_share
from training.profiling.requests import ranges_by_shard
from training.profiling.stages import AnyDataset, free, make_at_once, open_dataset
from training.profiling.stopwatch import Timing, time_once
from training.profiling.work import Work


@dataclass(frozen=True, kw_only=True)
class Cold:
    """Times of samples that no cache held.

    Attributes:
        fetch: Time of reading them.
        chain: Time of all stages.
        kept_share: Largest share of a local shard that stayed in the page cache although it was told to drop it.
    """

    fetch: Timing
    chain: Timing
    kept_share: float


def time_cold(work: Work, repeats: int) -> Cold | None:
    """Time fetch and the whole chain, each time after the caches have dropped the samples.

    The page cache drops whole shards of a local set; the node cache drops these samples of a remote set, and stores
    them again. A remote set without a cache has nothing to drop, and None is returned.
    """
    if is_remote(work.opened.url) and work.opened.cache is None:
        return None
    dataset, fetches, chains, kept = open_dataset(work), [], [], []
    for _ in track(range(repeats), total=repeats, unit="turns", label="cold"):
        kept.append(drop(work))
        fetches.append(time_once(partial(_fetch, work)))  # which fills the caches again
        kept.append(drop(work))
        chains.append(time_once(partial(_chain, work, dataset)))
    fetch, chain = (_timing(work, taken) for taken in (fetches, chains))
    return Cold(fetch=fetch, chain=chain, kept_share=max(kept))


def drop(work: Work) -> float:
    """Drop the samples from the caches; return the largest share of a local shard that stayed, 0 if remote."""
    store, stayed = work.opened.reader.store, [0.0]
    for name, ranges in ranges_by_shard(work, work.rows().tolist()).items():
        if (path := store.local_path(name)) is None:
            store.invalidate(name, ranges)
        else:
            drop_pages(path)
            stayed.append(resident_share(path))
    return max(stayed)


def _fetch(work: Work) -> None:
    rows = work.rows().tolist()
    for places in work.batches():
        for part in work.read_together([rows[place] for place in places]):
            work.opened.reader.read_stored(part, work.parts)


def _chain(work: Work, dataset: AnyDataset) -> None:
    for places in work.batches():
        free(make_at_once(dataset, places))


def _timing(work: Work, taken: list[tuple[float, float]]) -> Timing:
    seconds, cpu_seconds = zip(*taken, strict=True)  # a pair for each repeat -> two tuples
    return Timing(samples=work.samples, bytes=work.stored_bytes, seconds=seconds, cpu_seconds=cpu_seconds)
