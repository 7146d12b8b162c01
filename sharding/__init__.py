"""Shard sets: make them, prove them, read them. Imports no torch.

`ShardSet` opens a set; `webdataset_decoder` decodes its members in a webdataset pipeline. Both are imported when they
are first asked for, so that the command line answers at once.
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
