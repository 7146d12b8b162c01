"""The lease of a prefix, in a store in memory whose clock a test moves."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from sharding.errors import DataError, UsageError
from sharding.machine.lease import LEASE_NAME, system_name
from sharding.stores import lease
from sharding.stores.lease import RemoteLease

BUSY = "another run is here"


class Memory:
    """Objects with the time of their last put."""

    address = "s3://bucket/set"

    def __init__(self, conditional):
        self.conditional, self.objects, self.now = conditional, {}, datetime(2026, 1, 1, tzinfo=UTC)
        self.puts = []

    def read(self, name, *, once=False):
        return self.objects[name][0] if name in self.objects else None

    def write(self, name, content, *, once=False):
        self.puts.append(name)
        self.objects[name] = content, self.now

    def write_if_missing(self, name, content):
        if self.conditional and name in self.objects:
            return False
        self.write(name, content)
        return True

    def remove(self, name, *, once=False):
        self.objects.pop(name, None)

    def changed_at(self, name):
        return self.objects[name][1] if name in self.objects else None


@pytest.fixture(params=[True, False], ids=["conditions", "no-conditions"])
def store(request, monkeypatch):
    monkeypatch.setattr(lease, "SETTLE_S", 0.01)
    return Memory(request.param)


def of_another_machine(store, **content):
    known = {"host": "elsewhere", "pid": 7, "system": "another", "token": "t", "since": "2025-12-31 23:00:00 UTC"}
    store.write(LEASE_NAME, json.dumps(known | content).encode())


def test_a_lease_is_held_once_and_gone_afterwards(store):
    with RemoteLease(store, print).hold(BUSY):
        with pytest.raises(UsageError, match=r"another run is here \(process \d+ on .+ since .+ UTC, last heard of"):
            RemoteLease(store, print).hold(BUSY).__enter__()
        assert list(store.objects) == [LEASE_NAME]
    assert store.objects == {}


def test_the_lease_of_another_machine_may_be_taken_over_when_it_is_stale_and_not_before(store):
    said = []
    of_another_machine(store)
    store.now += timedelta(seconds=lease.STALE_S)
    with pytest.raises(
        UsageError,
        match=r"\(process 7 on elsewhere since 2025-12-31 23:00:00 UTC, last heard of 120 s ago; if it was killed, run "
        r"this again in 1 s\)",
    ):
        RemoteLease(store, said.append).hold(BUSY).__enter__()
    assert list(store.objects) == [LEASE_NAME]  # no probe is left
    store.now += timedelta(seconds=1)
    with RemoteLease(store, said.append).hold(BUSY):
        pass
    assert said == [
        "s3://bucket/set: takes over from process 7 on elsewhere since 2025-12-31 23:00:00 UTC, not heard of any more"
    ]


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(store):
    of_another_machine(store, system=system_name(), pid=2**22 + 1)  # more than Linux ever gives
    with RemoteLease(store, print).hold(BUSY):
        pass
    assert store.objects == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"7", b"[" * 9000, b'{"pid": "x", "host": 1}', b"\xff"])
def test_whatever_is_in_the_place_of_a_lease_is_a_lease_until_it_is_stale(store, content):
    store.write(LEASE_NAME, content)
    with pytest.raises(UsageError, match=BUSY):
        RemoteLease(store, print).hold(BUSY).__enter__()
    store.now += timedelta(seconds=lease.STALE_S + 1)
    with RemoteLease(store, print).hold(BUSY):
        pass
    assert store.objects == {}


def test_of_two_that_take_a_free_lease_at_once_one_gives_way(store, monkeypatch):
    """The other looks before the first writes, and writes after it."""
    other, first = RemoteLease(store, print), RemoteLease(store, print)
    write, done = store.write_if_missing, []

    def write_after_other(name, content):
        if not done:
            done.append(True)
            write(name, other._content)
        elif store.conditional is False and len(done) == 1:
            done.append(True)
            result = write(name, content)
            write(name, other._content)
            return result
        return write(name, content)

    monkeypatch.setattr(store, "write_if_missing", write_after_other)
    with pytest.raises(UsageError, match=BUSY):
        first.hold(BUSY).__enter__()
    assert json.loads(store.read(LEASE_NAME))["token"] == other._token


def test_a_holder_that_lost_it_is_told_so_and_leaves_that_of_the_other(store):
    said, told = [], threading.Event()
    held = RemoteLease(store, lambda text: (said.append(text), told.set()), touch_s=0.01)
    with held.hold(BUSY):
        held.check()
        while len(store.puts) < 4:  # it is written again and again
            pass
        of_another_machine(store)
        assert told.wait(10)
        with pytest.raises(DataError, match=r"the set was taken over by process 7 on elsewhere since .* not finished"):
            held.check()
    assert said == ["s3://bucket/set: another run has taken the set over; this one cannot finish it"]
    assert json.loads(store.read(LEASE_NAME))["token"] == "t"


def test_a_holder_whose_lease_is_gone_may_not_finish(store):
    held = RemoteLease(store, print)
    held.check()  # none was held: nothing to lose
    with held.hold(BUSY):
        store.remove(LEASE_NAME)
        with pytest.raises(DataError, match="the set was taken over while it was made here"):
            held.check()


def test_a_store_that_fails_at_the_end_does_not_hide_why_the_block_ended(store, monkeypatch):
    def fail(name, *, once=False):
        raise DataError("the store is gone")

    with pytest.raises(KeyboardInterrupt), RemoteLease(store, print).hold(BUSY):  # noqa: PT012
        monkeypatch.setattr(store, "read", fail)
        raise KeyboardInterrupt
