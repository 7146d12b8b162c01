"""Real processes and real signals. Also the script that they run."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from sharding.cli import Command, Outcome, main
from sharding.errors import Interrupted
from training.checkpoint.stop import SIGNALS, StopSignals

ROOT, LIMIT_S = Path(__file__).parents[3], 60
EXITS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]


@dataclass(frozen=True)
class Config:
    pass


def begin(config):
    """Before anything would be lost."""
    with StopSignals():
        wait_for_a_signal("loading")
    return Outcome(data={}, text="not stopped")


def train(config):
    """Steps, of which each would take long; then it sees what was asked."""
    with StopSignals() as stop:
        stop.defer()
        wait_for_a_signal("training")
        wait_for_a_signal(f"received {stop.received}")
        raise Interrupted(stop.received, "saved")


def wait_for_a_signal(text):
    """Say it, and read a line; handlers run meanwhile."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


@pytest.fixture
def start():
    """A function that starts one of the above as a command, and waits until it has said its first line."""
    processes = []

    def run(runner, first):
        command = [sys.executable, __file__, runner]
        environment = {name: value for name, value in os.environ.items() if "RANK" not in name}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(
            subprocess.Popen(command, env=environment | {"PYTHONPATH": str(ROOT)}, text=True, bufsize=1, **pipes)
        )
        assert processes[0].stdout.readline() == first + "\n"
        return processes[0]

    try:
        yield run
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=LIMIT_S)


def step_ends(process):
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize(("number", "status"), EXITS)
def test_before_training_a_signal_ends_the_command_at_once(start, number, status):
    process = start("begin", "loading")
    process.send_signal(number)
    assert process.wait(LIMIT_S) == status
    assert process.stderr.read() == "prog test: stopped; run the same command with --resume\n"


@pytest.mark.parametrize(("number", "status"), EXITS)
def test_while_training_a_signal_waits_for_the_end_of_the_step(start, number, status):
    process = start("train", "training")
    process.send_signal(number)
    text = f"{number.name}: saving after this step (Ctrl-C again to stop without)\n"
    assert process.stderr.readline() == text
    assert process.poll() is None
    step_ends(process)
    assert process.stdout.readline() == f"received {int(number)}\n"
    step_ends(process)
    assert process.wait(LIMIT_S) == status
    assert process.stderr.read() == "prog test: saved\n"


@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_ctrl_c_does_not_wait(start, first):
    process = start("train", "training")
    process.send_signal(first)
    assert process.stderr.readline().startswith(first.name)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    assert process.stderr.read() == "prog test: stopped; run the same command with --resume\n"


def test_a_scheduler_may_signal_again_and_again(start):
    process = start("train", "training")
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline().startswith("SIGTERM")
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    step_ends(process)
    assert process.stdout.readline() == f"received {int(signal.SIGTERM)}\n"
    step_ends(process)
    assert process.wait(LIMIT_S) == 143
    assert process.stderr.read() == "prog test: saved\n"


def test_the_first_signal_counts(start):
    """A scheduler's warning (SIGUSR1) is what the exit status says, though SIGTERM follows."""
    process = start("train", "training")
    process.send_signal(signal.SIGUSR1)
    assert process.stderr.readline().startswith("SIGUSR1")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    step_ends(process)
    assert process.stdout.readline() == f"received {int(signal.SIGUSR1)}\n"


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def test_the_handlers_of_before_are_restored():
    before = handlers()
    with StopSignals():
        assert all(now != then for now, then in zip(handlers(), before, strict=True))
    assert handlers() == before
    with pytest.raises(Interrupted, match=r"^stopped; run"), StopSignals():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert handlers() == before


def test_outside_the_main_thread_it_does_nothing():
    before, found = handlers(), []

    def work():
        with StopSignals() as stop:
            stop.defer()
            found.append((handlers(), stop.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LIMIT_S)
    assert found == [(before, None)]
    assert handlers() == before


if __name__ == "__main__":
    runner = Command(name="test", config=Config, runner=f"{__name__}:{sys.argv[1]}", help="")
    sys.exit(main("prog", "", [runner], ["test"]))
