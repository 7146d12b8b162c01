"""Shard sets: make them from MegaDepth or DIODE, read them, check them. Imports no torch.

    sources     which files of a folder or archive make a sample <- archives, member by member
    making      samples -> shards, index and manifest, resumed after a kill
    format      what a set is on disk; codecs: image, depth and valid to bytes and back
    stores      where a set is: a folder, or behind a URL with retries and a cache
    reading     rows of the index -> samples
    checking    verify a set, compare it with its source, inspect it

`toyworld` generates data sets with exact depth, `machine` has processes, threads and locks. The command line:
`commands` lists the commands, `config` their options, `options` turns these into arguments, `cli` runs a command and
turns the `errors` (DataError, UsageError, Interrupted) into exit statuses; `progress` prints lines and bars, on rank 0.

`ShardSet` opens a set; `webdataset_decoder` decodes its members in a webdataset pipeline. Both are imported when they
are first used, so that the command line answers at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharding.reading.shard_set import ShardSet
    from sharding.reading.webdataset_decoder import webdataset_decoder

__all__ = ["ShardSet", "webdataset_decoder"]

_HOMES = {"ShardSet": "sharding.reading.shard_set", "webdataset_decoder": "sharding.reading.webdataset_decoder"}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
