"""The notice of what streaming whole shards reads, and what it guarantees less than reading by the index."""

from collections.abc import Sequence

from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.loading.reading_cost import describe_workers, format_bytes
from training.streaming.options import Streaming


def announce_streaming(
    sets: Sequence[ShardSet], parts: Sequence[str], num_workers: int | None, streaming: Streaming
) -> None:
    """Print on stderr, on rank 0, what an epoch streams, and which guarantees of the indexed reader it lacks."""
    for line in describe_streaming(sets, parts, num_workers, streaming):
        say(line)


def describe_streaming(
    sets: Sequence[ShardSet], parts: Sequence[str], num_workers: int | None, streaming: Streaming
) -> list[str]:
    """Return the lines of `announce_streaming`."""
    samples = sum(map(len, sets))
    used = [
        shard.bytes
        for one in sets
        for shard, size in zip(one.manifest.shards, one.shard_sizes, strict=True)
        if size  # a shard with no sample of the subset is not opened
    ]
    taken = sum(int(one.rows[[f"{part}_bytes" for part in parts]].to_numpy().sum()) for one in sets)
    workers = describe_workers(num_workers)
    buffered = format_bytes(min(streaming.shuffle_buffer, samples) * taken / samples)
    return [
        f"--reader webdataset: {samples} samples, {len(used)} whole shards of {format_bytes(sum(used))} an epoch, and "
        f"again for each worker that shares one; {workers} shuffles among {streaming.shuffle_buffer} samples, "
        f"{buffered} as stored, and for a set behind a URL holds a whole shard as well",
        "--reader webdataset: the order is that of a shuffle buffer, and other ranks, workers or micro-batches give "
        "another one; a run resumed in the middle of an epoch streams it again from its beginning, and if any of these "
        "changed, sees some samples twice and misses others; nothing is read ahead or cached of the training sets",
    ]
