"""What streaming whole shards is told, and what it tells: it promises less than reading by the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sharding.errors import UsageError
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.config import Reader
from training.loading.reading_cost import spoken_bytes
from training.streaming.shard_stream import URL_FIELD


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """How shards are streamed.

    Attributes:
        shuffle_buffer: Samples of a worker among which the next one is drawn.
        pipe: Command that writes a shard; see `training.streaming.shard_stream.ShardOpener`.

    Raises:
        UsageError: There is no room for a sample, or the command does not say where the URL goes.
    """

    shuffle_buffer: int
    pipe: str | None = None

    def __post_init__(self) -> None:
        if self.shuffle_buffer < 1:
            raise UsageError(f"--shuffle-buffer {self.shuffle_buffer}: expected at least 1 sample")
        if self.pipe is not None and URL_FIELD not in self.pipe:
            raise UsageError(f"--pipe: expected a command with {URL_FIELD} in it, such as 'zstd -dc {URL_FIELD}'")


class Streamed(Protocol):
    """Options of a command that may stream."""

    @property
    def reader(self) -> Reader:
        """How samples are read."""
        ...

    @property
    def shuffle_buffer(self) -> int:
        """Samples of a worker's buffer."""
        ...

    @property
    def pipe(self) -> str | None:
        """Command that writes a shard."""
        ...


def streaming_options(config: Streamed) -> Streaming | None:
    """How the options ask to stream; None if they ask to read by the index.

    Raises:
        UsageError: They ask for a pipe, but not for the reader that has one; or the buffer holds nothing.
    """
    if config.reader == "webdataset":
        return Streaming(shuffle_buffer=config.shuffle_buffer, pipe=config.pipe)
    if config.pipe is not None:
        raise UsageError("--pipe writes whole shards, which only --reader webdataset reads; give that too")
    return None


def announce_streaming(sets: Sequence[ShardSet], parts: Sequence[str], num_workers: int, streaming: Streaming) -> None:
    """Say on stderr, on rank 0, what an epoch streams and what the indexed reader would have promised."""
    for line in describe_streaming(sets, parts, num_workers, streaming):
        say(line)


def describe_streaming(
    sets: Sequence[ShardSet], parts: Sequence[str], num_workers: int, streaming: Streaming
) -> list[str]:
    """The lines of `announce_streaming`."""
    samples = sum(map(len, sets))
    used = [
        shard.bytes
        for one in sets
        for shard, size in zip(one.manifest.shards, one.shard_sizes, strict=True)
        if size  # a shard of which nothing is wanted is not opened
    ]
    taken = sum(int(one.index[[f"{part}_bytes" for part in parts]].to_numpy().sum()) for one in sets)
    workers = f"each of {num_workers} workers" if num_workers else "this process"
    kept = spoken_bytes(min(streaming.shuffle_buffer, samples) * taken / samples)
    return [
        f"--reader webdataset: {samples} samples, {len(used)} whole shards of {spoken_bytes(sum(used))} an epoch, and "
        f"again for each worker that shares one; {workers} shuffles among {streaming.shuffle_buffer} samples, {kept} "
        "as they are stored, and of a set behind a URL holds a shard besides",
        "--reader webdataset: the order is that of a shuffle buffer, and other ranks, workers or micro-batches give "
        "another one; a run resumed in the middle of an epoch streams it again from its beginning, and meets samples "
        "twice and misses others if any of these changed; nothing is read ahead or cached of the training sets",
    ]
