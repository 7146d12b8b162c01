"""Small shard sets of the toy world, made once by the real writer."""

from pathlib import Path

import pytest

from sharding.config import ShardDiodeConfig, ShardMegadepthConfig
from sharding.create import shard_diode, shard_megadepth
from sharding.shardset import ShardSet
from sharding.toyworld import make_diode, make_megadepth


@pytest.fixture(scope="session")
def megadepth_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MegaDepth tree of 24 toy images, traps included."""
    root = tmp_path_factory.mktemp("toy") / "megadepth"
    make_megadepth(str(root), images=24, height=64, width=96, seed=0)
    return root


@pytest.fixture(scope="session")
def diode_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DIODE tree of 40 train and 8 val toy views, traps included."""
    root = tmp_path_factory.mktemp("toy") / "diode"
    make_diode(str(root), images=40, height=64, width=96, seed=0)
    return root


@pytest.fixture(scope="session")
def megadepth_set(megadepth_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """The MegaDepth tree as a set with depth, in several shards."""
    target = tmp_path_factory.mktemp("sets") / "megadepth"
    shard_megadepth(
        ShardMegadepthConfig(source=str(megadepth_tree), set=str(target), with_depth=True, shard_size=60_000, workers=1)
    )
    return ShardSet(target)


@pytest.fixture(scope="session")
def diode_sets(diode_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardSet, ShardSet]:
    """The train and val split of the DIODE tree, in several shards."""
    root = tmp_path_factory.mktemp("sets")
    for split in ("train", "val"):
        shard_diode(
            ShardDiodeConfig(source=str(diode_tree), set=str(root / split), split=split, shard_size=400_000, workers=1)
        )  # type: ignore[arg-type]
    return ShardSet(root / "train"), ShardSet(root / "val")
