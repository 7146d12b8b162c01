"""A set of any number of rows for `bench_open.py`: few views, whose places in one file many rows of the index name.

The shards are links to that file, a `.tar` without compression, in which a reader compares the checksum of a sample and
not its name. So each row can be read, and a set of a million rows takes 40 MB.
"""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sharding.format.index import INDEX_NAME, encode_index
from sharding.format.manifest import MANIFEST_NAME
from sharding.reading.shard_set import ShardSet

ROWS_A_SHARD = 100
"""As many views of 768 x 1024 as a shard of the default size has, roughly."""

_VIEWS_A_SCAN, _SCANS_A_SCENE = 100, 10


def make_views(target: Path) -> ShardSet:
    """Write the set whose views are repeated: 16 of 192 x 256, in one shard."""
    from store_bench.views import make_set

    make_set(target, 16, 192, 256, "none")
    return ShardSet(target)


def repeat_views(views: ShardSet, rows: int, target: Path) -> None:
    """Write a set of `rows` rows, with keys, scenes and scans as those of DIODE, in an order as if shuffled."""
    (shard,) = views.manifest.shards
    names = [f"shards/diode-train-{number:06d}.tar" for number in range(-(-rows // ROWS_A_SHARD))]
    (target / "shards").mkdir(parents=True)
    for name in names:
        os.link(Path(views.address, shard.name), target / name)
    data = encode_index(_repeat(views.index, rows, names))
    (target / INDEX_NAME).write_bytes(data)
    counts = np.bincount(np.arange(rows) // ROWS_A_SHARD).tolist()
    manifest = dataclasses.replace(
        views.manifest,
        samples=rows,
        index_sha256=hashlib.sha256(data).hexdigest(),
        shards=tuple(
            dataclasses.replace(shard, name=name, samples=count) for name, count in zip(names, counts, strict=True)
        ),
    )
    (target / MANIFEST_NAME).write_bytes(manifest.encode())


def _repeat(index: pd.DataFrame, rows: int, shards: list[str]) -> pd.DataFrame:
    """Repeat the rows of an index; what differs from view to view in a real set differs here."""
    rng = np.random.default_rng(0)
    views = rng.permutation(rows)
    scans, scenes = views // _VIEWS_A_SCAN, views // (_VIEWS_A_SCAN * _SCANS_A_SCENE)
    frame = index.iloc[np.arange(rows) % len(index)].reset_index(drop=True)
    keys = [
        f"{scene:05d}_{scan:05d}_outdoor_{view // 1000 % 1000:03d}_{view % 1000:03d}"
        for scene, scan, view in zip(scenes.tolist(), scans.tolist(), views.tolist(), strict=True)
    ]
    other: dict[str, Any] = {
        "key": keys,
        "shard": np.array([name.removeprefix("shards/") for name in shards])[np.arange(rows) // ROWS_A_SHARD],
        "scene": [f"{scene:05d}" for scene in scenes.tolist()],
        "scan": [f"{scan:05d}" for scan in scans.tolist()],
        "scene_type": np.where(scenes % 2 == 0, "indoors", "outdoor"),
        "valid_fraction": rng.uniform(0.5, 1, rows),
        "depth_min": rng.uniform(0.5, 1, rows),
        "depth_median": rng.uniform(1, 10, rows),
        "depth_max": rng.uniform(10, 50, rows),
    }
    return frame.assign(**other).astype(index.dtypes.to_dict())
