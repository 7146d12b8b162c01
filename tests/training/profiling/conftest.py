import io
import tarfile

import pytest

from sharding.config import IndexConfig, ShardMegadepthConfig
from sharding.making.create import shard_megadepth
from sharding.making.index_tars import run as index_tars
from sharding.reading.shard_set import ShardSet
from training.config import ProfileConfig
from training.profiling.work import plan_work

SMALL = {"height": 48, "width": 64}


@pytest.fixture(scope="session")
def plan():
    """A function from a set to the work of a profile; of small views, unless they are given."""

    def make(opened, samples=4, **options):
        views = SMALL if (opened.index["depth_ext"] != "").all() else {}
        return plan_work(opened, ProfileConfig(set="", samples=samples, **(views | options)))

    return make


@pytest.fixture(scope="package")
def image_set(megadepth_tree, tmp_path_factory):
    """The images of the MegaDepth tree: portrait and landscape, no depth."""
    target = tmp_path_factory.mktemp("images") / "set"
    shard_megadepth(ShardMegadepthConfig(source=str(megadepth_tree), set=str(target), workers=1))
    return ShardSet(target)


@pytest.fixture
def make_foreign(diode_sets, tmp_path):
    """A function from rows, and those of them that keep their depth, to a set made elsewhere, without valid parts."""

    def make(rows, deep):
        with tarfile.open(tmp_path / "tars.tar", "w") as tar:
            for row in rows:
                files = diode_sets[1].reader.read_encoded([row], ("image", "depth"))[0]
                members = {"ppm": files["image"]} | ({"depth.planes.npy": files["depth"]} if row in deep else {})
                for ext, data in members.items():
                    info = tarfile.TarInfo(f"view{row}.{ext}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        index_tars(IndexConfig(tars=str(tmp_path / "tars.tar"), set=str(tmp_path / "set")))
        return ShardSet(tmp_path / "set")

    return make
