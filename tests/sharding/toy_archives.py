"""Archives of small trees, in any order and form, and sets made from them in this process."""

import itertools
import json
import os
import random
import signal
import tarfile
from dataclasses import replace

import pytest

import sharding.machine.files
import sharding.making.packing
from sharding.config import ShardDiodeConfig, ShardMegadepthConfig
from sharding.making import from_archive
from sharding.making.create import shard_diode, shard_megadepth
from sharding.making.ledger import Ledger
from sharding.making.target import LocalTarget
from sharding.reading.shard_set import ShardSet
from sharding.sources import arrivals
from sharding.sources.joiner import Joiner
from tests.sharding.shard_runs import content
from tests.sharding.tarballs import END, entry, write

DIODE = ShardDiodeConfig(source="", set="", split="train", workers=1, shard_size=4000)
MEGADEPTH = ShardMegadepthConfig(source="", set="", with_depth=True, workers=1, shard_size=5000)
IMAGES = replace(MEGADEPTH, with_depth=False, shard_size=1500)
DIFFERING = ("archive", "bytes", "fingerprint", "md5")
"""What the manifests of the same files in several archives may differ in."""


def make(config, source, target, **options):
    run = shard_diode if isinstance(config, ShardDiodeConfig) else shard_megadepth
    return run(replace(config, source=str(source), set=str(target), **options))


def files(root):
    """Name below the tree and bytes of its files, sorted."""
    return [
        (path.relative_to(root).as_posix(), path.read_bytes()) for path in sorted(root.rglob("*")) if path.is_file()
    ]


def shuffled(members, seed):
    members = list(members)
    random.Random(seed).shuffle(members)
    return members


def images_first(members):
    """As in a scene of MegaDepth: the depth maps come after all images."""
    return sorted(members, key=lambda member: ("/depths/" in member[0], member[0]))


def plain(members):
    return b"".join(entry(name, data) for name, data in members) + END


def pack(path, members):
    """Write an archive in the form that the suffix of `path` tells."""
    return write(path, plain(members))


def ends(members):
    """Plain offset behind each member, by name: the reference is Python's own reader."""
    at, found = 0, {}
    for name, data in members:
        at += tarfile.BLOCKSIZE + len(data) + -len(data) % tarfile.BLOCKSIZE
        found[name] = at
    return found


def same_but_for_the_archive(first, second):
    """Compare two sets byte by byte, and what their manifests may not differ in."""
    first, second = content(first), content(second)
    manifests = [json.loads(one.pop("manifest.json")) for one in (first, second)]
    for manifest in manifests:
        for name in DIFFERING:
            manifest["source"].pop(name)
    assert first == second
    assert manifests[0] == manifests[1]


def samples(folder):
    """What is in a set, decoded."""
    opened = ShardSet(folder)
    found = {}
    for sample in map(opened.__getitem__, range(len(opened))):
        depth = None if sample.depth is None else (sample.depth.tobytes(), sample.valid.tobytes())
        found[sample.key] = (sample.image.shape, sample.image.tobytes(), depth)
    return found


def shard_of(folder):
    """Key -> number of its shard."""
    index = ShardSet(folder).index
    return {key: int(shard.partition(".")[0][-6:]) for key, shard in zip(index["key"], index["shard"], strict=True)}


def shrink(monkeypatch, **constants):
    """Make bounds small: SPAN_BYTES, HELD_BYTES, BATCH_BYTES, ENCODED_AHEAD_BYTES."""
    for name, value in constants.items():
        holders = [module for module in (arrivals, from_archive) if hasattr(module, name)]
        assert holders, name
        for module in holders:
            monkeypatch.setattr(module, name, value)


def count_reading(monkeypatch):
    """Names whose bytes were read out of an archive and given to a joiner, in order."""
    names, add = [], Joiner.add

    def counting(self, name, num_bytes, data, age=0):
        if data is not None:
            names.append(name)
        return add(self, name, num_bytes, data, age)

    monkeypatch.setattr(Joiner, "add", counting)
    return names


def at_replacement(step, act):
    """Call `act(path)` before the replacement number `step` of a file, or after it if negative; gives the patch."""
    count, replace_file, patch = 0, os.replace, pytest.MonkeyPatch()

    def counting(temporary, path):
        nonlocal count
        count += 1
        if count == step:
            act(path)
        replace_file(temporary, path)
        if count == -step:
            act(path)

    patch.setattr(sharding.machine.files.os, "replace", counting)
    return patch


def killed_at(step, config, source, target):
    """Whether a process that kills itself at this step got there."""
    child = os.fork()
    if child == 0:
        try:
            at_replacement(step, lambda path: os.kill(os.getpid(), signal.SIGKILL))
            make(config, source, target)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def identities(target):
    """The files of finished shards: path -> inode and time of change."""
    lines = {path.stem for path in target.glob(".making/*-0*.json")}
    kept = (path for path in target.glob("shards/*.zst") if path.name.partition(".")[0] in lines)
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept}


def finish(config, path, target, whole):
    """Run again to the end: finished shards stay the files they are, positions never go back, all bytes are right."""
    kept, saved, patch = identities(target), [Ledger(LocalTarget(target)).read_resume_point()], pytest.MonkeyPatch()
    write = Ledger.write_resume_point

    def watching(self, position):
        saved.append(position)
        write(self, position)

    patch.setattr(Ledger, "write_resume_point", watching)
    try:
        make(config, path, target)
    finally:
        patch.undo()
    assert content(target) == whole
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept} == kept
    for earlier, later in itertools.pairwise(saved):
        assert later.offset > earlier.offset
        assert later.shard >= earlier.shard
        assert later.enter >= earlier.enter or later.ended
