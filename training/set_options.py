"""Options about the sets that a command reads: which samples, through which cache, in which order."""

from dataclasses import dataclass
from typing import Literal

from sharding.machine.files import check_writable
from sharding.options import option, parse_bytes
from sharding.stores.node_cache import CacheSettings

Reader = Literal["indexed", "webdataset"]

WHERE = "a condition on columns of the index, such as \"scene_type == 'outdoor'\""


@dataclass(frozen=True, kw_only=True)
class SubsetOptions:
    """The option of the commands that can read a subset."""

    where: str | None = option(None, WHERE, metavar="EXPR")


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Options of the commands that read sets which may be behind a URL."""

    cache: str | None = option(
        None,
        "folder on a disk of this machine that keeps what is fetched from a URL, for all processes and jobs",
        metavar="DIR",
        path="local",
    )
    cache_size: int = option(
        200 * 10**9, "most that the cache holds", parse=parse_bytes, least=1, shown="200GB", metavar="SIZE"
    )


@dataclass(frozen=True, kw_only=True)
class StreamingOptions:
    """Options of the commands that can read whole shards in sequence."""

    reader: Reader = option(
        "indexed",
        "indexed: samples by their place in the index, in an exact order; webdataset: whole shards in sequence, for "
        "pipes and stores without ranges",
    )
    shuffle_buffer: int = option(
        200, "with --reader webdataset: samples of a worker among which the next one is drawn", metavar="N", least=1
    )
    pipe: str | None = option(
        None,
        "with --reader webdataset: command that writes a shard to its standard output, such as 'zstd -dc {url}'",
        metavar="COMMAND",
        executed=True,
    )


def check_cache(config: CacheOptions) -> None:
    """Check that the folder of the cache can be written to, also where all sets are local.

    Raises:
        UsageError: It cannot.
    """
    if config.cache is not None:
        check_writable(config.cache, "--cache", folder=True)


def cache_settings(config: CacheOptions) -> CacheSettings | None:
    """Return the cache that the options ask for, None without `--cache`."""
    return None if config.cache is None else CacheSettings(folder=config.cache, limit_bytes=config.cache_size)
