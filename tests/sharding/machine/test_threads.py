import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from sharding.machine.threads import Fetchers

SOON_S = 30.0  # for what happens at once on an idle machine


def test_a_process_that_ends_does_not_wait_for_reads_that_hang():
    script = (
        "import threading\nfrom sharding.machine.threads import Fetchers\nfetchers = Fetchers(2)\n"
        "begun = threading.Barrier(3)\n"
        "def hang():\n    begun.wait()\n    threading.Event().wait()\n"
        "for _ in range(50):\n    fetchers.submit(hang)\n"
        "begun.wait()\nprint('at the end', flush=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SOON_S)
    assert (run.returncode, run.stdout) == (0, "at the end\n"), run.stderr


def test_calls_are_made_in_order_and_a_cancelled_one_never():
    made, gate = [], threading.Event()
    fetchers = Fetchers(1)
    fetchers.submit(lambda: gate.wait(SOON_S))
    futures = [fetchers.submit(lambda number=number: made.append(number)) for number in range(4)]
    assert futures[2].cancel()
    gate.set()
    assert futures[3].result(SOON_S) is None
    assert made == [0, 1, 3]
    with pytest.raises(CancelledError):
        futures[2].result(0)
    with pytest.raises(ZeroDivisionError):
        fetchers.submit(lambda: 1 / 0).result(SOON_S)
