"""Which bytes are requested, and in how many requests."""

from collections.abc import Sequence

from sharding.stores.address import is_remote
from sharding.stores.ranges import MAX_MERGED_BYTES, merge_ranges
from sharding.stores.store import Range
from training.profiling.work import Work


def ranges_by_shard(work: Work, rows: Sequence[int]) -> dict[str, list[Range]]:
    """Return the byte ranges that are read for these rows, by the name of their shard."""
    names, reader = [shard.name for shard in work.opened.manifest.shards], work.opened.reader
    found: dict[str, list[Range]] = {}
    for row in rows:
        found.setdefault(names[int(reader.columns["shard"][row])], []).extend(reader.ranges(row, work.parts))
    return found


def requests_per_sample(work: Work) -> float | None:
    """Return the requests to the server per sample, read in batches without a cache; None for a local set.

    Retries are not counted.
    """
    if not is_remote(work.opened.url):
        return None
    rows = work.rows().tolist()
    asked = [ranges_by_shard(work, [rows[place] for place in places]) for places in work.batches()]
    # As in the remote store: adjacent ranges of a shard become one request.
    merged = (merge_ranges(ranges, limit_bytes=MAX_MERGED_BYTES) for batch in asked for ranges in batch.values())
    return sum(map(len, merged)) / work.samples
