"""Making a small DIODE set in this process, and failing or dying at a chosen step of it."""

import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import sharding.machine.files
import sharding.making.packing
from sharding.config import ShardDiodeConfig
from sharding.making.create import shard_diode

CONFIG = ShardDiodeConfig(source="", set="", split="train", workers=1, shard_size=4000)
SHARDS = 5


def make(source, target, **options):
    return shard_diode(replace(CONFIG, source=str(source), set=str(target), **options))


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def make_whole(source, target):
    """The content of a set that nobody disturbed."""
    make(source, target)
    made = content(target)
    assert len(made) == SHARDS + 2
    return made


def count_encoding(monkeypatch):
    """Keys of the samples that were encoded, in order."""
    keys, encode = [], sharding.making.packing.encode

    def counting(source, candidate, recipe):
        keys.append(candidate.key)
        return encode(source, candidate, recipe)

    monkeypatch.setattr(sharding.making.packing, "encode", counting)
    return keys


def make_until(step, source, target, fail):
    """Make the set with `fail()` called before the replacement number `step` of a file, or after it if negative."""
    count, replace_file = 0, os.replace

    def counting(temporary, path):
        nonlocal count
        count += 1
        if count == step:
            fail()
        replace_file(temporary, path)
        if count == -step:
            fail()

    patch = pytest.MonkeyPatch()
    patch.setattr(sharding.machine.files.os, "replace", counting)
    try:
        make(source, target)
    finally:
        patch.undo()
    return count


def killed_at(step, source, target):
    """Whether a process that kills itself at this step got there."""
    child = os.fork()
    if child == 0:
        try:
            make_until(step, source, target, lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def break_image(path):
    path.write_bytes(bytes(path.stat().st_size))  # the same size, no image


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def views(root, count, size):
    """A DIODE tree of random photographs."""
    folder = root / "train/outdoor/scene_00007/scan_00003"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        stem = folder / f"00007_00003_outdoor_{number:03d}_010"
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(f"{stem}.png", compress_level=1)
        np.save(f"{stem}_depth.npy", random.uniform(1, 300, (*size, 1)).astype(np.float32))
        np.save(f"{stem}_depth_mask.npy", np.ones(size, np.float32))
