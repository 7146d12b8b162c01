"""What is said of an epoch's cost, against the requests that a web server counts."""

import pytest

from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from sharding.stores.node_cache import CacheSettings
from training.config import FinetuneConfig, PretrainConfig
from training.depth_sets.subsets import choose_subsets
from training.finetuning.batches import BatchSplit
from training.finetuning.depth_data import make_data
from training.loading.images import IMAGE_PARTS
from training.loading.read_ahead import THREADS
from training.loading.reading_cost import announce_reading, describe_reading, format_bytes
from training.set_options import cache_settings


@pytest.fixture
def served(diode_sets, tmp_path, range_server):
    """The training set behind a web server."""
    (tmp_path / "set").symlink_to(diode_sets[0].url)
    return f"http://127.0.0.1:{range_server.server_address[1]}/set"


def test_a_local_set_is_described_in_a_line(diode_sets, capsys):
    announce_reading(diode_sets[0], DEPTH_PARTS, 4)
    size = sum(int(diode_sets[0].index[f"{part}_bytes"].sum()) for part in DEPTH_PARTS)
    shards = len(diode_sets[0].manifest.shards)
    assert capsys.readouterr().err == (
        f"diode-train: 40 samples in {shards} shards; an epoch reads 40 of them, {format_bytes(size)} "
        "(image, depth, valid)\n"
    )


def test_requests_of_a_remote_set_are_those_the_server_counts(served, range_server):
    samples = ShardSet(served)
    _, cost, flight = describe_reading(samples, DEPTH_PARTS, 2)
    range_server.requests.clear()
    for row in range(len(samples)):
        samples.read([row])
    assert f"about {len(range_server.requests)} requests and " in cost
    assert "--cache DIR" in cost
    assert flight == f"diode-train: each of 2 workers has at most 64.0 MB in flight, {THREADS} requests at a time"
    assert "this process has at most 1.0 MB" in describe_reading(samples, DEPTH_PARTS, 0, None, 10**6)[2]


@pytest.mark.parametrize(("portion", "rest"), [(0.25, 30), (0.5, 20), (1, 0), (1.5, 0)])
def test_a_cache_leaves_the_rest_of_the_set_to_fetch(served, tmp_path, portion, rest):
    size = int(ShardSet(served).index["image_bytes"].sum())
    cache = CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=round(size * portion))
    cost = describe_reading(ShardSet(served, None, cache), IMAGE_PARTS, 2)[1]
    assert f"about 40 requests and {format_bytes(size)} an epoch; from the second on about {rest} and " in cost
    drawn_half = describe_reading(ShardSet(served, None, cache), IMAGE_PARTS, 2, draws=20)[1]
    assert (
        f"about 20 requests and {format_bytes(size / 2)} an epoch; from the second on about {rest // 2} " in drawn_half
    )


def test_bytes_are_spoken():
    assert [format_bytes(size) for size in (900, 64e6, 1.25e9, 2e12)] == ["0.9 KB", "64.0 MB", "1.2 GB", "2.0 TB"]


def test_the_cache_options_reach_the_sets(diode_sets, tmp_path):
    config = FinetuneConfig(
        set=diode_sets[0].url,
        val=diode_sets[1].url,
        out="run",
        cache=str(tmp_path),
        cache_size=5000,
        batch_size=2,
        num_workers=2,
    )
    wanted = CacheSettings(folder=str(tmp_path), limit_bytes=5000)
    assert cache_settings(config) == wanted
    split = BatchSplit(world=1, micro_batch=2, accumulation=1)
    data = make_data(config, choose_subsets(config), split, pin_memory=False)
    assert data.train.cache == data.val.cache == wanted
    assert cache_settings(PretrainConfig(sets=("a",), out="run")) is None


def test_what_was_fetched_is_read_from_the_cache(served, tmp_path, range_server):
    cache = CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=10**8)
    first = ShardSet(served, None, cache).read(range(40))
    range_server.requests.clear()
    again = ShardSet(served, None, cache).read(range(40), IMAGE_PARTS)
    assert not [path for path, _ in range_server.requests if "/shards/" in path]
    assert all((one.image == other.image).all() for one, other in zip(first, again, strict=True))
