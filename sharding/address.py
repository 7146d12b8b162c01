"""Which store an address names: a folder, or a URL."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sharding.store import LocalStore, Store

if TYPE_CHECKING:
    from sharding.nodecache import CacheSettings


def is_remote(url: str) -> bool:
    """Whether `url` names a store that is not a local folder."""
    return "://" in url and not url.startswith("file://")


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
    from sharding.remote import RemoteStore
    from sharding.retry import RetryingStore

    store: Store = RetryingStore(RemoteStore(url, expected_bytes))
    if cache is None:
        return store
    from sharding.cachedstore import CachedStore

    return CachedStore(store, cache.open(), identity)
