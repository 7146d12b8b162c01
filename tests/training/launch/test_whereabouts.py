"""Notes of workers, read by the process that started them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from weakref import WeakSet

import pytest

from training.launch.whereabouts import Whereabouts, last_notes, leave, note


@pytest.fixture(autouse=True)
def no_loader_of_another_test(monkeypatch):
    """Loaders that other tests in this process have left behind say nothing here."""
    monkeypatch.setattr("training.launch.whereabouts._loaders", WeakSet())


@pytest.fixture(params=["fork", pytest.param("forkserver", marks=pytest.mark.slow)])  # which imports torch for each
def start(request):
    """A function that starts a worker which leaves notes and says so; what is left of the workers is killed."""
    started, context = [], multiprocessing.get_context(request.param)

    def start_worker(whereabouts, number, *notes):
        here, there = context.Pipe()
        worker = context.Process(target=work, args=(whereabouts, number, notes, there))
        worker.start()
        started.append(worker)
        assert here.poll(60)
        return worker

    yield start_worker
    for worker in started:
        worker.kill()
        worker.join(30)


def work(whereabouts, number, notes, connection):
    whereabouts.enter(number)
    for text in notes:
        note(text)
    connection.send("noted")
    signal.pause()


def end(worker):
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(30)


def test_the_last_note_of_each_worker_outlives_it(start):
    whereabouts = Whereabouts(3)
    workers = [start(whereabouts, 0, "decoding a", "decoding b"), start(whereabouts, 1, "reading c"), None]
    workers[2] = start(whereabouts, 2, "decoding d", "")
    pids = [worker.pid for worker in workers]
    assert whereabouts.read() == dict(zip(pids, ["decoding b", "reading c", ""], strict=True))
    assert last_notes() == []  # all are there
    end(workers[0])
    end(workers[2])
    assert last_notes() == last_notes(pids[:1]) == ["decoding b"]
    assert last_notes(pids[1:]) == ["reading c"]
    assert last_notes(pids[2:]) == []
    assert whereabouts.read()[pids[0]] == "decoding b"


def test_a_long_note_is_cut_between_characters(start):
    whereabouts = Whereabouts(1)
    worker = start(whereabouts, 0, "ä" * 300)
    assert whereabouts.read() == {worker.pid: "ä" * 248}
    worker = start(whereabouts, 0, "x" + "ä" * 300)
    assert whereabouts.read() == {worker.pid: "x" + "ä" * 247}


def test_a_child_that_nobody_waited_for_is_gone_too():
    whereabouts = Whereabouts(1)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    slot = whereabouts._slots.numpy()[0]
    slot[:8].view("int64")[0], slot[8:16].view("int64")[0], slot[16] = child.pid, 1, ord("a")
    assert last_notes() == []
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert last_notes() == ["a"]
    assert child.wait(30) == -signal.SIGKILL  # its status was left to be read


def test_a_loader_that_is_gone_says_nothing(start):
    whereabouts = Whereabouts(1)
    end(start(whereabouts, 0, "decoding e"))
    assert last_notes() == ["decoding e"]
    del whereabouts
    assert last_notes() == []


def test_other_processes_note_nothing():
    whereabouts = Whereabouts(1)
    note("decoding f")
    assert whereabouts.read() == {0: ""}


def test_a_worker_that_leaves_notes_nothing_more_though_its_threads_go_on(monkeypatch):
    monkeypatch.setattr("training.launch.whereabouts._own_slot", [])
    whereabouts, left = Whereabouts(1), threading.Event()
    whereabouts.enter(0)

    def work():
        while not left.is_set():
            note("decoding a")
        for _ in range(1000):
            note("decoding b")

    thread = threading.Thread(target=work)
    thread.start()
    leave()
    left.set()
    thread.join(30)
    assert whereabouts.read() == {os.getpid(): ""}
