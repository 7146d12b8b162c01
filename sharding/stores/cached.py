"""A store in front of which stands the node cache."""

from collections.abc import Sequence
from pathlib import Path

from sharding.stores.node_cache import NodeCache
from sharding.stores.store import Buffer, Range, Store


class CachedStore:
    """A store whose ranges are kept on this machine.

    Ranges that two processes miss at the same time are fetched by both and kept once. Whole objects (manifest, index)
    are not kept. Give it the ranges of one sample each, for what is read together is kept together.

    Args:
        store: Where a set is fetched from.
        cache: Where it is kept.
        identity: Of the set: a hash of its content.
    """

    def __init__(self, store: Store, cache: NodeCache, identity: str) -> None:
        self._store, self._kept = store, cache.of_set(identity)

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Take what is kept, fetch the rest in one call, and keep it. Lengths are right; who reads checks the bytes."""
        found: dict[Range, Buffer] = {span: data for span in ranges if (data := self._kept.get(name, span)) is not None}
        missing = [span for span in dict.fromkeys(ranges) if span not in found]
        if missing:
            for span, fetched in zip(missing, self._store.read(name, missing), strict=True):
                found[span] = fetched
                self._kept.add(name, span, fetched)
        return [found[span] for span in ranges]

    def read_all(self, name: str) -> bytes:
        """Fetch an object."""
        return self._store.read_all(name)

    def size(self, name: str) -> int | None:
        """Ask the store."""
        return self._store.size(name)

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Look whether all of them are; the disk is asked to have them ready."""
        return all(self._kept.has(name, span) for span in ranges)

    def local_path(self, name: str) -> Path | None:
        """Ask the store: ranges are kept, no files."""
        return self._store.local_path(name)

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Remove what is kept of the ranges; the next reading fetches them."""
        self._store.invalidate(name, ranges)
        self._kept.invalidate(name, ranges)
        return True
