import errno
import os
import pickle
import shutil
from pathlib import Path

import pytest

from sharding.errors import DataError, UsageError
from sharding.reading.reader import SampleReader
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from sharding.stores.cache_usage import DISK_BLOCK_BYTES, Usage
from sharding.stores.cached import CachedStore
from sharding.stores.local import LocalStore
from sharding.stores.node_cache import CacheSettings, NodeCache
from tests.sharding.stores.cache_job import CountingStore, counted, entries, make_objects, taken

NAME = "shards/set-0.tar.zst"
PLENTY = 10**9


def open_cached(root, cache, limit=PLENTY, identity="a"):
    store = CountingStore(root)
    return store, CachedStore(store, NodeCache(cache, limit), identity)


def read_all(store, places):
    return [store.read(name, [span])[0] for name, span in places]


@pytest.fixture
def equal(tmp_path):
    """A hundred ranges of two blocks each."""
    (tmp_path / "source" / "shards").mkdir(parents=True)
    (tmp_path / "source" / NAME).write_bytes(os.urandom(200 * DISK_BLOCK_BYTES))
    return [(NAME, (at * 2 * DISK_BLOCK_BYTES, 2 * DISK_BLOCK_BYTES)) for at in range(100)]


def test_what_was_fetched_is_not_fetched_again_by_anyone(tmp_path):
    places = make_objects(tmp_path / "source")
    expected = read_all(LocalStore(tmp_path / "source"), places)
    first, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    assert read_all(cached, places) == expected
    assert first.fetched == places
    assert read_all(cached, places) == expected
    assert first.fetched == places
    del cached
    second, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    assert read_all(cached, reversed(places)) == expected[::-1]
    assert second.fetched == []


def test_only_what_is_missing_is_fetched_in_one_call_and_given_in_order(tmp_path, equal):
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    spans = [span for _, span in equal[:6]]
    cached.read(NAME, spans[1:3])
    wanted = [spans[5], spans[2], spans[0], spans[5], spans[1]]
    assert cached.read(NAME, wanted) == LocalStore(tmp_path / "source").read(NAME, wanted)
    assert store.fetched == [(NAME, span) for span in (*spans[1:3], spans[5], spans[0])]


def test_what_is_kept_is_known_without_reading_it(tmp_path, equal):
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    (offset, length), other = (span for _, span in equal[:2])
    assert not cached.is_cached(NAME, [(offset, length)])
    cached.read(NAME, [(offset, length)])
    assert cached.is_cached(NAME, [(offset, length)])
    assert cached.is_cached(NAME, [(offset, length - 1)])
    assert not cached.is_cached(NAME, [(offset, length + 1)])
    assert not cached.is_cached(NAME, [(offset, length), other])
    assert len(store.fetched) == 1
    cached.invalidate(NAME, [(offset, length)])
    assert not cached.is_cached(NAME, [(offset, length)])


def test_a_shorter_range_at_the_same_place_is_served_and_a_longer_one_takes_its_place(tmp_path, equal):
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    whole = (tmp_path / "source" / NAME).read_bytes()
    for length in (DISK_BLOCK_BYTES, 3 * DISK_BLOCK_BYTES, 10, DISK_BLOCK_BYTES, 3 * DISK_BLOCK_BYTES):
        assert cached.read(NAME, [(8192, length)]) == [whole[8192 : 8192 + length]]
    assert [span for _, span in store.fetched] == [(8192, DISK_BLOCK_BYTES), (8192, 3 * DISK_BLOCK_BYTES)]
    assert counted(tmp_path / "cache", PLENTY) == taken(tmp_path / "cache" / "sets") == 3 * DISK_BLOCK_BYTES


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 1.5])
def test_the_hit_rate_of_later_epochs_is_the_part_of_the_set_that_fits(tmp_path, equal, share):
    limit = int(share * 100) * 2 * DISK_BLOCK_BYTES
    for epoch in range(3):  # each in another order, and by another process as far as the cache can tell
        store, cached = open_cached(tmp_path / "source", tmp_path / "cache", limit)
        read_all(cached, equal[epoch * 30 :] + equal[: epoch * 30])
        assert len(store.fetched) == (100 if epoch == 0 else 100 - min(100, share * 100))
        assert taken(tmp_path / "cache" / "sets") == min(limit, 200 * DISK_BLOCK_BYTES)


def test_longer_ranges_take_the_room_of_shorter_ones_that_filled_the_cache(tmp_path, equal):
    limit = 60 * DISK_BLOCK_BYTES
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache", limit)
    read_all(cached, [(name, (offset, DISK_BLOCK_BYTES)) for name, (offset, _) in equal])
    assert [path.stat().st_size for path in entries(tmp_path / "cache")] == [DISK_BLOCK_BYTES] * 60
    read_all(cached, equal)
    store.fetched.clear()
    assert read_all(cached, equal) == read_all(LocalStore(tmp_path / "source"), equal)
    assert len(store.fetched) == 100 - 30
    assert taken(tmp_path / "cache" / "sets") == limit


def test_a_job_with_less_room_leaves_what_one_with_more_keeps(tmp_path, equal):
    _, more = open_cached(tmp_path / "source", tmp_path / "cache", 200 * DISK_BLOCK_BYTES)
    read_all(more, [(name, (offset, DISK_BLOCK_BYTES)) for name, (offset, _) in equal])
    kept = entries(tmp_path / "cache")
    assert len(kept) == 100
    _, less = open_cached(tmp_path / "source", tmp_path / "cache", 50 * DISK_BLOCK_BYTES)
    assert read_all(less, equal) == read_all(LocalStore(tmp_path / "source"), equal)
    assert entries(tmp_path / "cache") == kept


def test_what_is_there_already_leaves_nothing_unfinished(tmp_path, equal):
    _, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    for _ in range(3):
        assert cached.read(NAME, [(0, 0), (5, 5)])[1] == LocalStore(tmp_path / "source").read(NAME, [(5, 5)])[0]
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []


def test_what_another_process_kept_meanwhile_counts_once(tmp_path, equal, monkeypatch):
    _, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    _, beside = open_cached(tmp_path / "source", tmp_path / "cache")
    write = Path.write_bytes

    def late(path, data):
        monkeypatch.setattr(Path, "write_bytes", write)
        read_all(beside, equal[:1])
        write(path, data)

    monkeypatch.setattr(Path, "write_bytes", late)
    assert read_all(cached, equal[:1]) == read_all(beside, equal[:1])
    assert counted(tmp_path / "cache", PLENTY) == 2 * DISK_BLOCK_BYTES == taken(tmp_path / "cache" / "sets")
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []


def test_a_set_made_again_is_never_served_from_the_old_one(tmp_path, equal):
    _, cached = open_cached(tmp_path / "source", tmp_path / "cache", identity="old")
    old = read_all(cached, equal)
    (tmp_path / "source" / NAME).write_bytes(os.urandom(200 * DISK_BLOCK_BYTES))
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache", identity="new")
    new = read_all(cached, equal)
    assert len(store.fetched) == 100
    assert new == read_all(LocalStore(tmp_path / "source"), equal)
    assert not set(new) & set(old)


def test_two_sets_in_use_share_the_bound_and_neither_drives_out_the_other(tmp_path, equal):
    first, one = open_cached(tmp_path / "source", tmp_path / "cache", 120 * DISK_BLOCK_BYTES, "one")
    second, two = open_cached(tmp_path / "source", tmp_path / "cache", 120 * DISK_BLOCK_BYTES, "two")
    read_all(one, equal[:40])
    read_all(two, equal)
    assert taken(tmp_path / "cache" / "sets") == 120 * DISK_BLOCK_BYTES
    read_all(one, equal)
    assert len(first.fetched) == 100
    read_all(two, equal)
    assert len(second.fetched) == 100 + 80


def test_sets_that_nobody_uses_make_room_the_one_used_longest_ago_first(tmp_path, equal):
    cache, limit = tmp_path / "cache", 150 * DISK_BLOCK_BYTES
    for age, identity in ((300, "middle"), (900, "oldest"), (100, "newest")):
        _, cached = open_cached(tmp_path / "source", cache, limit, identity)
        read_all(cached, equal[:20])
        del cached
        os.utime(cache / "sets" / identity / "in-use", (0, os.stat(cache).st_mtime - age))
    _, cached = open_cached(tmp_path / "source", cache, limit, "present")
    read_all(cached, equal[:20])
    assert {path.parents[1].name for path in entries(cache)} == {"middle", "newest", "present"}
    read_all(cached, equal[20:40])
    assert {path.parents[1].name for path in entries(cache)} == {"newest", "present"}
    _, other = open_cached(tmp_path / "source", cache, limit, "newest")
    read_all(cached, equal)
    assert {path.parents[1].name for path in entries(cache)} == {"newest", "present"}
    assert taken(cache / "sets") == counted(cache, limit) == limit
    del other
    read_all(cached, equal)
    assert {path.parents[1].name for path in entries(cache)} == {"present"}


def test_a_smaller_limit_holds_as_soon_as_nobody_uses_the_set(tmp_path, equal):
    places = [(f"shards/set-{at % 10}.tar.zst", (at * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES)) for at in range(100)]
    for number in range(10):
        (tmp_path / "source" / f"shards/set-{number}.tar.zst").write_bytes(os.urandom(100 * DISK_BLOCK_BYTES))
    _, cached = open_cached(tmp_path / "source", tmp_path / "cache", 100 * DISK_BLOCK_BYTES)
    read_all(cached, places)
    NodeCache(tmp_path / "cache", 30 * DISK_BLOCK_BYTES)
    assert len(entries(tmp_path / "cache")) == 100
    del cached
    NodeCache(tmp_path / "cache", 30 * DISK_BLOCK_BYTES)
    assert len(entries(tmp_path / "cache")) == 30
    assert taken(tmp_path / "cache" / "sets") == 30 * DISK_BLOCK_BYTES


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_file_is_noticed_by_the_reader_and_fetched_again(tmp_path, diode_sets, damage):
    train, rows = diode_sets[0], list(range(len(diode_sets[0])))
    store, cached = open_cached(train.url, tmp_path / "cache", identity=train.manifest.identity)
    reader = with_store(train.reader, cached)
    expected = train.reader.read_stored_checked(rows, DEPTH_PARTS)
    assert reader.read_stored_checked(rows, DEPTH_PARTS) == expected
    assert len(store.fetched) == len(rows) == len(entries(tmp_path / "cache"))
    store.fetched.clear()
    for path in entries(tmp_path / "cache")[::5]:
        damage(path)
    assert reader.read_stored_checked(rows, DEPTH_PARTS) == expected
    assert len(store.fetched) == len(entries(tmp_path / "cache")[::5])
    store.fetched.clear()
    assert reader.read_stored_checked(rows, DEPTH_PARTS) == expected
    assert reader.read_stored_checked(rows, ["image"]) == train.reader.read_stored_checked(rows, ["image"])
    assert store.fetched == []


def with_store(reader, store):
    """A reader like this one that reads from `store`."""
    return SampleReader(
        reader.url, lambda: store, reader._shards, reader._compression, dict(reader.columns), reader._exts
    )


def test_damage_at_the_source_is_not_kept(tmp_path, diode_sets):
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    damaged = ShardSet(tmp_path / "set")
    shard = tmp_path / "set" / damaged.manifest.shards[0].name
    offset = int(damaged.index["depth_offset"].iloc[0])
    data = bytearray(shard.read_bytes())
    data[offset + 30] ^= 1
    shard.write_bytes(data)
    store, cached = open_cached(tmp_path / "set", tmp_path / "cache")
    reader = with_store(damaged.reader, cached)
    with pytest.raises(DataError, match="key"):
        reader.read_stored_checked([0], DEPTH_PARTS)
    assert len(store.fetched) == 5  # once, and four times more
    data[offset + 30] ^= 1
    shard.write_bytes(data)
    assert reader.read_stored_checked([0], DEPTH_PARTS) == diode_sets[1].reader.read_stored_checked([0], DEPTH_PARTS)


def test_a_second_epoch_over_http_asks_for_no_shard_and_one_of_images_neither(tmp_path, diode_sets, range_server):
    local, rows = diode_sets[0], list(range(len(diode_sets[0])))
    shutil.copytree(local.url, tmp_path / "set")
    url = f"http://127.0.0.1:{range_server.server_address[1]}/set"
    settings = CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=PLENTY)
    asked_by_epoch = []
    for parts in (DEPTH_PARTS, DEPTH_PARTS, ("image",)):
        reader = pickle.loads(pickle.dumps(ShardSet(url, cache=settings).reader))
        range_server.requests.clear()
        assert reader.read_stored_checked(rows, parts) == local.reader.read_stored_checked(rows, parts)
        asked = [path for path, _ in range_server.requests if "/shards/" in path]
        asked_by_epoch.append(len(asked))
    assert asked_by_epoch[0] > 0
    assert asked_by_epoch[1:] == [0, 0]


def test_forgetting_removes_what_overlaps_and_nothing_else(tmp_path, equal):
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    read_all(cached, equal[:10])
    middle, late = 2 * DISK_BLOCK_BYTES * 3 + 5, 2 * DISK_BLOCK_BYTES * 7
    assert cached.invalidate(NAME, [(middle, 2 * DISK_BLOCK_BYTES), (late, 1)])
    assert cached.invalidate("shards/none.tar", [(0, 10)])
    assert counted(tmp_path / "cache", PLENTY) == 14 * DISK_BLOCK_BYTES == taken(tmp_path / "cache" / "sets")
    store.fetched.clear()
    read_all(cached, equal[:10])
    assert store.fetched == [equal[3], equal[4], equal[7]]


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_when_a_write_fails_adding_stops_is_said_once_and_reading_goes_on(tmp_path, equal, monkeypatch, capsys, step):
    store, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    _, beside = open_cached(tmp_path / "source", tmp_path / "cache")
    expected = read_all(LocalStore(tmp_path / "source"), equal)
    assert read_all(cached, equal[:10]) == expected[:10]

    def full(path, *rest):
        if step == "write_bytes":
            path.open("wb").write(b"what still had room")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "write_bytes" else os, step, full)
        assert read_all(cached, equal) == expected
    assert (
        read_all(beside, equal) == read_all(cached, equal) == expected
    )  # there is room again; not before the next run
    assert len(entries(tmp_path / "cache")) == 10
    assert len(store.fetched) == 10 + 90 + 90
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"cache {tmp_path / 'cache'}: No space left on device; nothing more is added" in said
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []
    assert counted(tmp_path / "cache", PLENTY) == 20 * DISK_BLOCK_BYTES
    del cached, beside
    _, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    assert counted(tmp_path / "cache", PLENTY) == 20 * DISK_BLOCK_BYTES
    read_all(cached, equal)
    assert len(entries(tmp_path / "cache")) == 100


def test_reading_goes_on_when_somebody_removes_the_folder(tmp_path, equal, capsys):
    _, cached = open_cached(tmp_path / "source", tmp_path / "cache")
    read_all(cached, equal[:10])
    shutil.rmtree(tmp_path / "cache")
    assert read_all(cached, equal) == read_all(LocalStore(tmp_path / "source"), equal)
    assert capsys.readouterr().err.count("No such file or directory") == 1


def test_a_lock_that_is_held_too_long_stops_adding_and_says_what_it_waited_for(tmp_path, equal, capsys):
    cache = NodeCache(tmp_path / "cache", PLENTY, wait_seconds=0.01)
    cached = CachedStore(LocalStore(tmp_path / "source"), cache, "a")
    with Usage(tmp_path / "cache" / "usage").locked():
        assert read_all(cached, equal[:3]) == read_all(LocalStore(tmp_path / "source"), equal[:3])
        with pytest.raises(UsageError, match=r"cache/usage: waited 0.01 s for the lock that another process holds"):
            NodeCache(tmp_path / "cache", PLENTY, wait_seconds=0.01)
    assert capsys.readouterr().err.count("waited 0.01 s for the lock") == 1


def test_a_cache_that_cannot_be_is_refused_in_plain_words(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/cache")):
        with pytest.raises(UsageError, match=f"--cache {folder}: expected a folder that can be written"):
            NodeCache(folder, PLENTY)
    for limit in (0, -1):
        with pytest.raises(UsageError, match=f"--cache-size {limit}: expected a positive size"):
            CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=limit).open()
    assert not (tmp_path / "cache").exists()


def test_a_folder_on_a_disk_without_locks_is_refused(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(UsageError, match="No locks available: fix that, choose another folder"):
        NodeCache(tmp_path / "cache", PLENTY)


def test_names_cannot_lead_out_of_the_folder(tmp_path):
    cache = NodeCache(tmp_path / "a" / "cache", PLENTY)
    for identity, name in (("../../x", "../../y"), ("/x", ".."), ("x/..", "/etc/z")):
        kept = cache.of_set(identity)
        kept.add(name, (0, 5), b"bytes")
        assert kept.get(name, (0, 5)) == b"bytes"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cache"]
    assert sorted(path.name for path in (tmp_path / "a" / "cache").iterdir()) == [
        "sets",
        "unfinished",
        "usage",
        "users",
    ]


def test_a_cache_that_cannot_be_used_ends_the_opening_of_a_remote_set(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    settings = CacheSettings(folder=str(tmp_path / "file" / "cache"), limit_bytes=PLENTY)
    with pytest.raises(UsageError, match=f"--cache {settings.folder}: expected a folder that can be written"):
        ShardSet("http://127.0.0.1:9/set", None, settings)  # nobody is asked there


def test_a_full_disk_is_an_error_before_a_run_begins(tmp_path, monkeypatch):
    settings = CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=PLENTY)
    settings.check()

    def full(path, *rest):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UsageError, match=r"No space left on device: fix that, choose another folder"):
            ShardSet("http://127.0.0.1:9/set", None, settings)
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []
    settings.check()
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []
