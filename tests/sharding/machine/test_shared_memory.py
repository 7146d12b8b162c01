import os
from types import SimpleNamespace

from sharding.machine.shared_memory import free_bytes, whole_bytes


def test_what_is_free_is_what_a_user_may_take(monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_blocks=16384, f_bavail=100, f_frsize=4096))
    assert (free_bytes(), whole_bytes()) == (409_600, 64 * 2**20)


def test_nothing_is_known_where_there_is_no_limit_and_no_such_folder(monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=4096))
    assert (free_bytes(), whole_bytes()) == (None, None)
    monkeypatch.undo()
    monkeypatch.setattr("sharding.machine.shared_memory.FOLDER", "/nowhere")
    assert (free_bytes(), whole_bytes()) == (None, None)
