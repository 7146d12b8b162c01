import errno
import gc
import os
import signal
import struct
import threading
import time
from multiprocessing.connection import Connection

import pytest

from sharding.errors import DataError
from sharding.machine.pool import END_S, WorkerPool


class Awkward(Exception):
    """An error whose pickled form cannot be read."""

    def __init__(self, one, *, other):
        super().__init__(f"{one} and {other}")


class AwkwardData(DataError):
    """The same, and the user's."""

    def __init__(self, one, *, other):
        super().__init__(f"{one} and {other}")


def fail(kind):
    if kind == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/shard")
    if kind == "memory":
        raise MemoryError
    raise (Awkward if kind == "awkward" else AwkwardData)("this", other="that")


def end_in_the_middle_of_an_answer():
    """Announce 1000 bytes, send 3, and end."""
    connection = next(one for one in gc.get_objects() if isinstance(one, Connection))
    os.write(connection.fileno(), struct.pack("!i", 1000) + b"abc")
    os._exit(1)


def kill_by(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def exit_with(status):
    os._exit(status)


def tell_pid(path):
    path.write_text(str(os.getpid()))
    time.sleep(60)


def swallow_signals():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return "here"


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_pid(path):
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(path.read_text())


def test_errors_arrive_as_they_were_raised_with_the_place_as_their_cause():
    with WorkerPool(1) as pool:
        full = pool.submit(fail, "disk").exception(30)
        assert isinstance(full, OSError)
        assert (full.errno, full.filename) == (errno.ENOSPC, "/data/shard")
        assert "in fail" in str(full.__cause__)
        assert isinstance(pool.submit(fail, "memory").exception(30), MemoryError)
        assert pool.submit(abs, -3).result(30) == 3  # the same worker goes on


def test_errors_that_cannot_be_read_become_ones_that_can():
    with WorkerPool(1) as pool:
        error = pool.submit(fail, "awkward").exception(30)
        assert (type(error), str(error)) == (RuntimeError, "this and that")
        error = pool.submit(fail, "data").exception(30)
        assert (type(error), str(error)) == (DataError, "this and that")
        with pytest.raises((TypeError, AttributeError)):  # the wording is that of pickle
            pool.submit(abs, threading.Lock()).result(30)
        assert pool.submit(abs, -3).result(30) == 3


def test_a_worker_that_ends_in_the_middle_of_an_answer_breaks_the_pool_at_once():
    began = time.monotonic()
    with WorkerPool(2) as pool:
        jobs = [pool.submit(end_in_the_middle_of_an_answer) for _ in range(6)]
        for job in jobs:
            with pytest.raises(DataError, match="a worker process ended with status 1; finished work is kept"):
                job.result(30)
        with pytest.raises(DataError, match="ended with status 1"):
            pool.submit(abs, -3)
    assert time.monotonic() - began < END_S


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "was killed by SIGKILL, usually because memory ran out; finished"),
        (signal.SIGSEGV, "was killed by SIGSEGV; finished"),
    ],
)
def test_it_is_said_what_killed_a_worker(number, said):
    with WorkerPool(1) as pool, pytest.raises(DataError, match=said):
        pool.submit(kill_by, number).result(30)


def test_a_worker_that_cannot_be_started_is_an_error(monkeypatch):
    monkeypatch.setattr("sharding.machine.pool.spawn.get_executable", lambda: "/nowhere/python")
    with WorkerPool(1) as pool, pytest.raises(DataError, match="cannot be started: No such file"):
        pool.submit(abs, -3)


@pytest.mark.parametrize("stopped", [False, True])
def test_the_end_of_the_block_ends_workers_that_are_busy_or_stopped(tmp_path, stopped):
    with WorkerPool(2) as pool:
        jobs = [pool.submit(tell_pid, tmp_path / str(number)) for number in range(3)]
        pids = [wait_for_pid(tmp_path / str(number)) for number in range(2)]
        if stopped:
            os.kill(pids[0], signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < END_S / 2
    assert not any(map(is_alive, pids))
    assert all(job.done() for job in jobs)  # nobody who waits for one waits for ever
    assert not (tmp_path / "2").exists()


def test_workers_do_not_end_by_signals_to_the_whole_group():
    with WorkerPool(1) as pool:
        assert pool.submit(swallow_signals).result(30) == "here"
