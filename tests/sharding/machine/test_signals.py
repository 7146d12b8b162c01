import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sharding.machine.signals import Terminated, hold_signals, hold_signals_within, number_of, raising_signals
from tests.sharding.shard_runs import environment

DROPPED = """
import os, signal, sys, time
from sharding.machine.signals import raising_signals

class Dropping:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(1000): pass

try:
    with raising_signals(terminate=True):
        Dropping()  # Python drops what its destructor raises
        time.sleep(30)
        print("not noticed")
except KeyboardInterrupt as error:
    print("ended by", type(error).__name__)
"""


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(5)


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated")])
def test_a_signal_whose_exception_is_dropped_comes_again(number, said):
    done = subprocess.run(
        [sys.executable, "-c", DROPPED.format(number=int(number))],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ended by {said}\n", "")


def test_other_dropped_errors_are_printed_as_ever(capsys):
    class Faulty:
        def __del__(self):
            raise ValueError("of a destructor")

    with raising_signals(terminate=False):
        Faulty()
    assert "ValueError: of a destructor" in capsys.readouterr().err


def test_sigterm_is_raised_in_the_block_and_handled_as_before_after_it():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Terminated) as raised, raising_signals(terminate=True):
            send(signal.SIGTERM)
        assert number_of(raised.value) == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_waits_for_the_end_of_the_block_also_if_another_thread_gets_it():
    done = []
    other = threading.Thread(target=time.sleep, args=(1,))  # started before: it does not block the signal
    other.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with hold_signals():
            os.kill(os.getpid(), signal.SIGINT)  # the kernel chooses a thread that does not block it
            time.sleep(0.1)
            done.append("all of the block")
        time.sleep(5)
        done.append("more than the block")
    assert done == ["all of the block"]
    other.join()
    with pytest.raises(KeyboardInterrupt):  # and the next one is not held back
        send(signal.SIGINT)


def test_processes_that_are_started_in_the_block_have_both_signals_blocked():
    with hold_signals():
        status = subprocess.run(
            ["cat", "/proc/self/status"], capture_output=True, text=True, timeout=30, check=True
        ).stdout  # fmt: skip
    blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1], 16)
    assert blocked & (1 << signal.SIGINT - 1)
    assert blocked & (1 << signal.SIGTERM - 1)


def test_a_signal_waits_while_a_function_runs_that_must_not_raise_and_only_then():
    done = []

    def inner():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append("inner")

    def called_back():
        inner()

    with pytest.raises(KeyboardInterrupt), hold_signals_within({called_back.__code__}):  # noqa: PT012
        called_back()
        done.append("after")
    assert done == ["inner", "after"]
    with pytest.raises(KeyboardInterrupt), hold_signals_within({called_back.__code__}):
        inner()
    assert done == ["inner", "after"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
