import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.spool import Spool


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40), st.lists(st.tuples(st.sampled_from("ptd"), st.integers(0, 30)), max_size=60))
def test_what_is_put_is_taken_again_within_the_bound_of_memory(limit, steps):
    spool, live = Spool(limit), {}
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
    for token, data in live.items():
        assert spool.take(token) == data
    assert spool.held_bytes == spool.disk_bytes == 0
    assert spool.peak_bytes <= limit


def test_the_oldest_go_to_disk_and_files_go_when_they_are_empty(tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.spool.SEGMENT_BYTES", 100)
    spool = Spool(50, tmp_path)
    tokens = [spool.put(bytes([i]) * 20) for i in range(12)]
    assert (spool.held_bytes, spool.spilled_bytes) == (40, 200)
    assert os.listdir(tmp_path) == []
    for token in tokens[:5]:
        spool.take(token)
    assert spool.disk_bytes == 100
    spool.close()
    assert spool.held_bytes == spool.disk_bytes == 0


def test_a_folder_that_is_not_there_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Spool(0, tmp_path / "none").put(b"x")
