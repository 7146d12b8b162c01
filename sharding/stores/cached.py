"""A store that looks into the node cache before it fetches."""

from collections.abc import Sequence
from pathlib import Path

from sharding.stores.node_cache import NodeCache
from sharding.stores.store import Buffer, Range, Store


class CachedStore:
    """A store whose ranges are cached on this machine.

    A range that two processes miss at the same time is fetched by both and cached once. Whole objects (manifest,
    index) are not cached. The ranges of a call are the units of the cache, found again by their offset: pass those of
    single samples, the same in each epoch, rather than ranges merged over samples.

    Args:
        store: Where a set is fetched from.
        cache: Where its ranges are cached.
        identity: A hash of the content of the set.
    """

    def __init__(self, store: Store, cache: NodeCache, identity: str) -> None:
        self._store, self._cached = store, cache.of_set(identity)

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Read hits from the cache, fetch all misses in one call and cache them.

        Only the lengths of cached ranges are checked here; the reader compares the checksums.
        """
        found: dict[Range, Buffer] = {
            span: data for span in ranges if (data := self._cached.get(name, span)) is not None
        }
        missing = [span for span in dict.fromkeys(ranges) if span not in found]  # each once, in order
        if missing:
            for span, fetched in zip(missing, self._store.read(name, missing), strict=True):
                found[span] = fetched
                self._cached.add(name, span, fetched)
        return [found[span] for span in ranges]

    def read_all(self, name: str) -> bytes:
        """Fetch a whole object, past the cache."""
        return self._store.read_all(name)

    def size(self, name: str) -> int | None:
        """Return the size that the store reports."""
        return self._store.size(name)

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Tell whether all ranges are in the cache; the kernel is asked to read them ahead."""
        return all(self._cached.has(name, span) for span in ranges)

    def local_path(self, name: str) -> Path | None:
        """Return the path that the store reports: the cache holds ranges, not files."""
        return self._store.local_path(name)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Remove the ranges from the cache, so that the next read fetches them; returns True."""
        self._store.invalidate(name, ranges)
        self._cached.invalidate(name, ranges)
        return True
