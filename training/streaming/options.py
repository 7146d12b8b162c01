"""Options of streaming whole shards, and the notice of what it guarantees less than reading by the index."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharding.errors import UsageError
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.config import StreamingOptions
from training.loading.reading_cost import format_bytes
from training.streaming.shard_stream import URL_FIELD


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """How shards are streamed.

    Attributes:
        shuffle_buffer: Samples per worker among which the next one is drawn, >= 1.
        pipe: Command that writes a shard; see `training.streaming.shard_stream.ShardOpener`.

    Raises:
        UsageError: The buffer has no room for a sample, or the command has no place for the URL.
    """

    shuffle_buffer: int
    pipe: str | None = None

    def __post_init__(self) -> None:
        if self.shuffle_buffer < 1:
            raise UsageError(f"--shuffle-buffer {self.shuffle_buffer}: expected at least 1 sample")
        if self.pipe is not None and URL_FIELD not in self.pipe:
            raise UsageError(f"--pipe: expected a command with {URL_FIELD} in it, such as 'zstd -dc {URL_FIELD}'")


def streaming_options(config: StreamingOptions) -> Streaming | None:
    """Build the streaming options; None if the configuration reads by the index.

    Raises:
        UsageError: There is a pipe without the reader that uses it, or a value of `Streaming` is out of range.
    """
    if config.reader == "webdataset":
        return Streaming(shuffle_buffer=config.shuffle_buffer, pipe=config.pipe)
    if config.pipe is not None:
        raise UsageError("--pipe writes whole shards, which only --reader webdataset reads; give that too")
    return None


def announce_streaming(sets: Sequence[ShardSet], parts: Sequence[str], num_workers: int, streaming: Streaming) -> None:
    """Print on stderr, on rank 0, what an epoch streams, and which guarantees of the indexed reader it lacks."""
    for line in describe_streaming(sets, parts, num_workers, streaming):
        say(line)


def describe_streaming(
    sets: Sequence[ShardSet], parts: Sequence[str], num_workers: int, streaming: Streaming
) -> list[str]:
    """Return the lines of `announce_streaming`."""
    samples = sum(map(len, sets))
    used = [
        shard.bytes
        for one in sets
        for shard, size in zip(one.manifest.shards, one.shard_sizes, strict=True)
        if size  # a shard with no sample of the subset is not opened
    ]
    taken = sum(int(one.index[[f"{part}_bytes" for part in parts]].to_numpy().sum()) for one in sets)
    workers = f"each of {num_workers} workers" if num_workers else "this process"
    buffered = format_bytes(min(streaming.shuffle_buffer, samples) * taken / samples)
    return [
        f"--reader webdataset: {samples} samples, {len(used)} whole shards of {format_bytes(sum(used))} an epoch, and "
        f"again for each worker that shares one; {workers} shuffles among {streaming.shuffle_buffer} samples, "
        f"{buffered} as stored, and for a set behind a URL holds a whole shard as well",
        "--reader webdataset: the order is that of a shuffle buffer, and other ranks, workers or micro-batches give "
        "another one; a run resumed in the middle of an epoch streams it again from its beginning, and if any of these "
        "changed, sees some samples twice and misses others; nothing is read ahead or cached of the training sets",
    ]
