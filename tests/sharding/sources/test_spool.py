import os
import tempfile
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.sources.spool import Spool


def open_files(folder):
    """Files below a folder that this process has open, with or without a name."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(path for path in found if path.startswith(f"{folder}/"))


@pytest.fixture(scope="module")
def spooled(tmp_path_factory):
    """The system's folder for temporary files."""
    folder = tmp_path_factory.mktemp("spooled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40), st.lists(st.tuples(st.sampled_from("ptd"), st.integers(0, 30)), max_size=60))
def test_what_is_put_is_taken_again_within_the_bound_of_memory(spooled, limit, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sharding.sources.spool.SEGMENT_BYTES", 1)  # a file each
        put_and_take(Spool(limit), spooled, limit, steps)
    assert open_files(spooled) == []


def put_and_take(spool, folder, limit, steps):
    live = {}
    for number, (step, size) in enumerate(steps):
        if step == "p":
            data = bytes([number]) * size
            live[spool.put(data)] = data
        elif live:
            token = sorted(live)[size % len(live)]
            data = live.pop(token)
            if step == "t":
                assert spool.take(token) == data
            else:
                spool.drop(token)
        assert spool.held_bytes <= limit
        needed = {place.segment for token in live if (place := spool.place(token))}
        assert len(needed) <= len(open_files(folder)) <= len(needed) + 1  # the file that is appended to stays open
    for token, data in live.items():
        assert spool.take(token) == data
    assert spool.held_bytes == 0
    assert len(open_files(folder)) <= 1
    spool.close()


def test_the_oldest_go_to_disk_and_files_go_when_they_are_empty(tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.sources.spool.SEGMENT_BYTES", 100)
    spool = Spool(50, tmp_path)
    tokens = [spool.put(bytes([i]) * 20) for i in range(12)]
    assert spool.held_bytes == 40
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"000000.bin": 100, "000001.bin": 100}
    for token in tokens[:5]:
        spool.take(token)
    assert open_files(tmp_path) == [str(tmp_path / "000001.bin")]
    spool.tidy({"000000.bin"})
    assert sorted(os.listdir(tmp_path)) == ["000000.bin", "000001.bin"]
    spool.tidy(set())
    assert os.listdir(tmp_path) == ["000001.bin"]
    spool.close()
    assert spool.held_bytes == 0
    assert open_files(tmp_path) == []


def test_without_a_folder_no_file_has_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool(0)
    token = spool.put(b"x" * 100)
    assert spool.place(token).bytes == 100
    assert os.listdir(tmp_path) == []
    assert spool.take(token) == b"x" * 100


def test_what_is_older_goes_to_disk_and_the_rest_stays():
    spool = Spool(100)
    tokens = [spool.put(bytes([age]), age) for age in range(5)]
    spool.spill_older(3)
    assert [spool.place(token) is None for token in tokens] == [False, False, False, True, True]
    assert [spool.take(token) for token in tokens] == [bytes([age]) for age in range(5)]


def test_a_later_spool_takes_over_what_is_whole(tmp_path):
    spool = Spool(0, tmp_path)
    places = [spool.place(spool.put(bytes([i]) * 50)) for i in range(3)]
    path = tmp_path / places[0].segment
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    later = Spool(0, tmp_path)
    first, damaged, last = map(later.adopt, places)
    assert damaged is None
    assert (later.take(first), later.take(last)) == (bytes(50), bytes([2]) * 50)
    assert later.adopt(replace(places[0], segment="gone.bin")) is None
    assert later.adopt(replace(places[0], offset=149)) is None
    later.put(b"new")
    assert len(os.listdir(tmp_path)) == 2  # never into a file of another run


def test_damage_on_disk_is_noticed_when_it_is_taken(tmp_path):
    spool = Spool(0, tmp_path)
    token = spool.put(b"payload")
    (tmp_path / "000000.bin").write_bytes(b"PAYLOAD")
    with pytest.raises(DataError, match="checksum mismatch"):
        spool.take(token)
