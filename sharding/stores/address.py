"""Which store an address names: a folder, or a URL; and how it is shown."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sharding.stores.credentials import without_login
from sharding.stores.store import LocalStore, Store

if TYPE_CHECKING:
    from sharding.stores.node_cache import CacheSettings


def is_remote(url: str) -> bool:
    """Whether `url` names a store that is not a local folder."""
    return "://" in url and not url.startswith("file://")


def shown(address: str) -> str:
    """An address as it may be shown and written down: a URL without login and query; any other text as it is."""
    return without_login(address) if re.match(r"[A-Za-z0-9+.-]+://", address) else address


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
