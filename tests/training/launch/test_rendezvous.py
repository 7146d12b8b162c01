import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore

from sharding.errors import DataError, UsageError
from training.launch import notes, rendezvous
from training.launch.launcher import Started
from training.launch.notes import find_lost, leave_note
from training.launch.rendezvous import RollCall
from training.launch.world import World


@pytest.fixture
def port(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(rendezvous, "_QUIET_S", 0.5)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def roll_call(port, rank, world=3, certain=True):
    started = Started(launcher="SLURM", here=world, num_nodes=1, certain=certain)
    return RollCall(started, rank, "127.0.0.1", port)


def test_ranks_that_come_one_after_the_other_share_a_store(port):
    def meet(rank):
        time.sleep(0.4 * (2 - rank))  # rank 0, which the others need, last
        store = roll_call(port, rank).meet()
        store.set(f"from {rank}", str(rank))
        return store

    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(meet, range(3)))
    assert [store.get(f"from {2 - at}") for at, store in enumerate(stores)] == [b"2", b"1", b"0"]


def test_ranks_that_do_not_come_are_named_after_the_limit(port, monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "LIMIT_S", 1.5)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(roll_call(port, rank, world=4).meet) for rank in (0, 2)]
        for rank, one in zip((0, 2), waiting, strict=True):
            with pytest.raises(DataError, match=rf"rank {rank} of 4: ranks 1, 3 of 4 did not come within 2 s"):
                one.result()
    assert "rank 0 of 4: waiting at 127.0.0.1:" in capsys.readouterr().err


def test_rank_zero_that_does_not_come_is_named(port, monkeypatch):
    monkeypatch.setattr(rendezvous, "LIMIT_S", 1.0)
    with pytest.raises(DataError, match=rf"rank 1 of 3: rank 0 did not come within 1 s at 127.0.0.1:{port}"):
        roll_call(port, 1).meet()


def test_a_world_that_nobody_started_is_refused_with_the_remedy(port, monkeypatch):
    monkeypatch.setattr(rendezvous, "DOUBTFUL_LIMIT_S", 1.0)
    with pytest.raises(UsageError, match=r"variables name 3 tasks, but ranks 1, 2 of 3 did not come .*srun"):
        roll_call(port, 0, certain=False).meet()


def test_a_port_in_use_is_named(port):
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with pytest.raises(UsageError, match=f"rank 0 cannot listen at 127.0.0.1, port {port}.*MASTER_PORT"):
            roll_call(port, 0).meet()


def test_the_keys_of_an_attempt_are_not_those_of_the_one_before(port, monkeypatch):
    store = roll_call(port, 0, world=1).meet()
    store.set("key", "first")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = roll_call(port, 0, world=1).meet()
    assert not again.check(["key"])
    assert store.check(["key"])


def test_a_rank_that_left_no_note_is_gone_and_one_with_an_error_is_quoted(monkeypatch):
    monkeypatch.setattr(notes, "WAIT_S", 0.5)
    store = HashStore()
    leave_note(store, World(0, 4), "")
    leave_note(store, World(2, 4), "shard x: damaged")
    leave_note(store, World(3, 4), "")
    gone = "rank 1 is gone: it was killed, or has ended, or its machine is down"
    assert find_lost(store, World(0, 4)) == [gone, "rank 2: shard x: damaged"]


def test_notes_are_awaited(monkeypatch):
    monkeypatch.setattr(notes, "WAIT_S", 30.0)
    store = HashStore()
    leave_note(store, World(0, 2), "")
    threading.Timer(0.5, leave_note, (store, World(1, 2), "")).start()
    begin = time.monotonic()
    assert find_lost(store, World(0, 2)) == []
    assert time.monotonic() - begin < 20
