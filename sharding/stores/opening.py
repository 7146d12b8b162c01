"""Open the store that an address names: a folder, or a URL with retries and, if wanted, the cache of the node."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sharding.stores.address import is_remote
from sharding.stores.local import LocalStore
from sharding.stores.store import Store

if TYPE_CHECKING:
    from sharding.stores.node_cache import CacheSettings

_opened_in: set[int] = set()
"""Ids of processes that opened a store over the network: a forked child inherits the set, but has another id."""


def has_remote_client() -> bool:
    """Tell whether this process has opened a store over the network: its client does not survive a fork."""
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
        url: Address of the set.
        expected_bytes: Object name -> size in bytes from the manifest; reading an object of another size is an error.
        cache: Where fetched bytes are cached on this node; None for no cache. A folder needs none.
        identity: Identity of the set (`Manifest.identity`); names its folder in the cache.

    Raises:
        UsageError: The address is wrong, there are no credentials for it, or the cache cannot be written.
    """
    if not is_remote(url):
        return LocalStore(url.removeprefix("file://"))
    from sharding.stores.remote import RemoteStore  # here, so that reading a folder never imports obstore
    from sharding.stores.retry import RetryingStore

    _opened_in.add(os.getpid())
    # Whoever knows the sizes of objects has read the manifest: an outage since then is worth waiting for.
    store: Store = RetryingStore(RemoteStore(url, expected_bytes), answered=expected_bytes is not None)
    if cache is None:
        return store
    from sharding.stores.cached import CachedStore

    return CachedStore(store, cache.open(), identity)
