"""A process that reads a folder of objects through the node cache and compares every byte: tests start several."""

import argparse
import json
import os
import random
import signal
import sys
from pathlib import Path

from sharding.stores.cache_usage import Usage
from sharding.stores.cached import CachedStore
from sharding.stores.local import LocalStore
from sharding.stores.node_cache import CacheSettings, NodeCache


class CountingStore(LocalStore):
    """Counts what is fetched, in a file that processes share: a line a range."""

    def __init__(self, root, log=None):
        super().__init__(root)
        self._log = log
        self.fetched = []

    def read(self, name, ranges):
        self.fetched += [(name, span) for span in ranges]
        if self._log:
            with Path(self._log).open("a") as log:
                log.write("".join(f"{name} {offset} {length}\n" for offset, length in ranges))
        return super().read(name, ranges)

    def invalidate(self, name, ranges):
        return True


def make_objects(root, *, objects=3, ranges=40, largest=40_000, seed=0):
    """Random bytes in files below `root`; returns (name, span) of ranges that touch and cover them."""
    chance = random.Random(seed)
    places = []
    for number in range(objects):
        lengths = [chance.randint(1, largest) for _ in range(ranges)]
        path = Path(root) / f"shards/set-{number}.tar.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(sum(lengths)))
        starts = [sum(lengths[:at]) for at in range(ranges)]
        places += [(f"shards/set-{number}.tar.zst", span) for span in zip(starts, lengths, strict=True)]
    return places


def counted(folder, limit=None):
    """Bytes that a cache counts as used; with a limit, after a process has opened it with that limit."""
    opened = None if limit is None else NodeCache(folder, limit)
    with Usage(folder / "usage").locked() as account:
        found = account.bytes
    del opened  # until here it was in use
    return found


def taken(folder):
    """Bytes on the disk of all files below a folder, folders themselves left out."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def entries(cache):
    """Files of kept ranges."""
    return sorted((cache / "sets").glob("*/*.ranges/*"))


def die_at(step):
    """Be killed before something that a write to the cache does."""

    def die(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    replace_file = os.replace

    def replace_and_die(source, target):
        replace_file(source, target)
        die()

    def half(path, data):
        with path.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
        die()

    place, name, doing = {
        "write": (Path, "write_bytes", die),
        "half": (Path, "write_bytes", half),
        "replace": (os, "replace", die),
        "replaced": (os, "replace", replace_and_die),
    }[step]
    setattr(place, name, doing)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--root", "--cache", "--identity", "--places", "--log", "--die"):
        parser.add_argument(name)
    for name in ("--limit", "--part", "--parts", "--epochs"):
        parser.add_argument(name, type=int, default=1)
    parser.add_argument("--forget", type=float, default=0, help="part of the ranges that are forgotten once read")
    options = parser.parse_args()
    places = [(name, tuple(span)) for name, span in json.loads(Path(options.places).read_text())]
    source = LocalStore(options.root)
    settings = CacheSettings(folder=options.cache, limit_bytes=options.limit)
    store = CachedStore(CountingStore(options.root, options.log), settings.open(), options.identity)
    if options.die:
        die_at(options.die)
    for epoch in range(options.epochs):
        mine = places[options.part :: options.parts]
        random.Random(epoch).shuffle(mine)
        for name, span in mine:
            if store.read(name, [span]) != source.read(name, [span]):
                sys.exit(f"{name} {span}: wrong bytes")
            if random.random() < options.forget:
                store.invalidate(name, [span])


if __name__ == "__main__":
    main()
