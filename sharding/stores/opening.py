"""Opening the store that an address names: a folder, or a URL."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sharding.stores.local import LocalStore
from sharding.stores.store import Store

if TYPE_CHECKING:
    from sharding.stores.node_cache import CacheSettings
from sharding.stores.address import is_remote

_opened_in: set[int] = set()
"""Processes, by id, that opened a store over the network."""


def has_remote_client() -> bool:
    """Whether this process has opened a store over the network: its client does not survive a fork."""
    return os.getpid() in _opened_in


def open_store(
    url: str,
    *,
    expected_bytes: Mapping[str, int] | None = None,
    cache: "CacheSettings | None" = None,
    identity: str = "",
) -> Store:
    """Open the store that `url` names: a folder, or `s3://`, `gs://`, `az://`, `http(s)://`.

    A remote client must not exist in a process that forks afterwards: open it in the process that reads.

    Args:
        url: Of the set.
        expected_bytes: Sizes of objects as the manifest has them; one of another size is an error when it is read.
        cache: Where fetched bytes are kept on this node; None keeps nothing. A folder needs no cache.
        identity: The set's, which the cache files its bytes under.

    Raises:
        UsageError: The address cannot be read so, or there are no credentials for it.
    """
    if not is_remote(url):
        return LocalStore(url.removeprefix("file://"))
    from sharding.stores.remote import RemoteStore
    from sharding.stores.retry import RetryingStore

    _opened_in.add(os.getpid())
    store: Store = RetryingStore(RemoteStore(url, expected_bytes))
    if cache is None:
        return store
    from sharding.stores.cached import CachedStore

    return CachedStore(store, cache.open(), identity)
