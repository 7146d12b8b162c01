"""Options of streaming whole shards; imports no torch."""

from dataclasses import dataclass

from sharding.errors import UsageError
from sharding.hiding import COMMAND_NOTE
from training.set_options import Reader, StreamingOptions
from training.streaming.pipe_command import to_script


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """How shards are streamed.

    Attributes:
        shuffle_buffer: Samples per worker among which the next one is drawn, >= 1.
        pipe: Command that writes a shard; see `training.streaming.shard_stream.ShardOpener`.

    Raises:
        UsageError: The buffer has no room for a sample, or the command has no safe place for the URL.
    """

    shuffle_buffer: int
    pipe: str | None = None

    def __post_init__(self) -> None:
        if self.shuffle_buffer < 1:
            raise UsageError(f"--shuffle-buffer {self.shuffle_buffer}: expected at least 1 sample")
        if self.pipe is not None and COMMAND_NOTE in self.pipe:
            raise UsageError(
                "--pipe: a run folder keeps no command, because there may be a key in it: give --pipe again"
            )
        if self.pipe is not None:
            to_script(self.pipe)


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


def check_budget(reader: Reader, max_bad: int) -> None:
    """Check that damaged samples are tolerated only where the samples behind them can be read.

    Raises:
        UsageError: They are streamed.
    """
    if max_bad and reader == "webdataset":
        raise UsageError(
            f"--max-bad {max_bad}: a stream ends at the first damaged sample; read by the index (--reader indexed), or "
            "leave out --max-bad"
        )
