"""Check that an address names a finished set before anything heavy is imported."""

from sharding.errors import UsageError
from sharding.format.manifest import MANIFEST_NAME
from sharding.reading.missing import explain_missing
from sharding.reading.shard_set import ShardSet, read_manifest
from sharding.stores.address import is_remote, shown
from sharding.stores.node_cache import CacheSettings
from sharding.stores.opening import open_store


def check_set(address: str, where: str | None = None, cache: CacheSettings | None = None) -> int:
    """Check that there is a finished set, and that the subset of it can be chosen; reads no shard.

    Args:
        address: Folder or URL of the set.
        where: Query on the index, which is read only for it; None for all samples.
        cache: Where the fetched ranges of a remote set are cached.

    Returns:
        The number of samples of the subset.

    Raises:
        UsageError: There is no set, the query is wrong or selects nothing, or the cache cannot be written.
        DataError: The set is damaged, or its store cannot be reached.
    """
    if not is_remote(address) and (missing := explain_missing(address)):
        raise UsageError(missing)
    store = open_store(address)
    if store.size(MANIFEST_NAME) is None:
        raise UsageError(f"{shown(address)}: expected a shard set with {MANIFEST_NAME}, found none; check the address")
    samples = read_manifest(store, shown(address)).samples
    if where is not None:
        samples = len(ShardSet(address, where))
    if cache is not None and is_remote(address):
        cache.check()
    return samples
