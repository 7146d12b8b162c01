"""Sets in a bucket of a real server, opened and read: what was damaged on the way, replaced, or made anew."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from sharding.stores.node_cache import CacheSettings
from tests.servers import answer, link, localbucket, s3_variables, web_server

URL = "s3://bucket/set"


@pytest.fixture
def served(diode_sets, tmp_path, monkeypatch):
    """Leads to a bucket with a copy of the training set, through a link with the given options; gives link and copy."""
    folder = shutil.copytree(diode_sets[0].url, tmp_path / "s3/bucket/set")

    @contextmanager
    def serve(*options):
        with localbucket(tmp_path / "s3") as server, link(server.port, *options) as between:
            for name, value in s3_variables(between.url).items():
                monkeypatch.setenv(name, value)
            yield between, folder

    return serve


def assert_equal(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.key == other.key
        assert np.array_equal(mine.image, other.image)
        assert np.array_equal(mine.depth, other.depth, equal_nan=True)
        assert np.array_equal(mine.valid, other.valid)


def test_an_index_damaged_on_the_way_is_fetched_again(served, diode_sets):
    options = ("--fault-rate", 1, "--first", 1, "--faults", "corrupt", "--only", "GET /bucket/set/index.parquet")
    with served(*options) as (between, _):
        assert ShardSet(URL).index.equals(diode_sets[0].index)
        assert between.counts["faults"] == {"corrupt": 1}


def test_a_manifest_damaged_on_the_way_is_fetched_again(diode_sets):
    asked = []

    def damage_the_first(handler):
        data = Path(diode_sets[0].url, handler.path.rpartition("/")[2]).read_bytes()
        if handler.command == "GET" and "manifest" in handler.path:
            asked.append(handler.path)
            data = data.replace(b'"', b"'") if len(asked) == 1 else data
        answer(handler, 200, data)

    with web_server(damage_the_first) as server:
        assert ShardSet(f"{server.url}/set").manifest == diode_sets[0].manifest
    assert len(asked) == 2


def test_a_file_that_stays_damaged_is_an_error_after_five_looks(served):
    options = ("--fault-rate", 1, "--faults", "corrupt", "--only", "GET /bucket/set/index.parquet")
    with served(*options) as (between, _):
        with pytest.raises(DataError, match=r"s3://bucket/set/index.parquet: expected sha256 .* get a whole copy"):
            ShardSet(URL)
        assert between.counts["faults"] == {"corrupt": 5}


def test_a_shard_replaced_by_one_of_its_size_is_an_error_with_shard_and_key(served):
    with served() as (_, folder):
        opened = ShardSet(URL)
        shard = folder / opened.manifest.shards[0].name
        shard.write_bytes(bytes(shard.stat().st_size))
        with pytest.raises(DataError, match=rf"^shard {opened.manifest.shards[0].name}, key {opened.reader.key(0)}: "):
            opened.read([0])


@pytest.mark.slow
def test_a_set_made_anew_at_its_address_is_never_served_from_the_cache(served, diode_sets, tmp_path):
    cache = CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=10**9)
    for of_set in diode_sets:
        with served() as (between, folder):
            shutil.rmtree(folder)
            shutil.copytree(of_set.url, folder)
            for fetched in (True, False):
                before = between.counts["body_bytes"]
                opened = ShardSet(URL, cache=cache)
                facts = between.counts["body_bytes"] - before
                assert_equal(opened.read(range(len(opened))), of_set.read(range(len(of_set))))
                assert (between.counts["body_bytes"] - before > facts) == fetched
    assert len(list((tmp_path / "cache" / "sets").iterdir())) == 2
