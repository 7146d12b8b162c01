"""`depthstream shard` in a process group of its own, all of whose processes can be found, and ways to end it early."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from making_bench.process_tree import tree

LIMIT_S = 30.0
"""Seconds after which a run that was told to end counts as one that hangs."""

GONE_S = 2.0
"""Seconds in which the workers of a command that was killed have to notice it."""


class DisturbedRun:
    """A run of the command line.

    Args:
        command: The command.
        log: File for what it says.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._mark, self._log = f"RUN_MARK={uuid.uuid4()}", log
        name, value = self._mark.split("=")
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                command,
                env=os.environ | {name: value, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=_heed_ctrl_c,
            )
        self.pid = self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self._log.read_text(errors="replace")

    def wait(self) -> int | None:
        """Wait for its end; return the status, None if it hangs."""
        try:
            return self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            return None

    def left(self, within_s: float) -> list[int]:
        """Return its processes that are still alive after some seconds, at once if there are none."""
        until = time.monotonic() + within_s
        while (found := self._alive()) and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def _alive(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has ended, or is another user's
                continue
        return found

    def clear(self) -> None:
        """Kill what is left of it."""
        listings = 0  # in a row that found none: a process shows no environment while it executes another program
        while listings < 3:
            for pid in (found := self._alive()):
                _send(os.kill, pid, signal.SIGKILL)
            listings = 0 if found else listings + 1
            time.sleep(0.02)
        self._process.wait()


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has its background jobs ignore it


def _send(how: Callable[[int, int], None], pid: int, number: int) -> None:
    try:
        how(pid, number)
    except ProcessLookupError:  # it has ended
        pass


def press_ctrl_c(run: DisturbedRun, moments: random.Random) -> None:
    """Do what a terminal does: send SIGINT to all processes."""
    _send(os.killpg, run.pid, signal.SIGINT)


def press_ctrl_c_twice(run: DisturbedRun, moments: random.Random) -> None:
    """Press it again within a tenth of a second."""
    _send(os.killpg, run.pid, signal.SIGINT)
    time.sleep(moments.uniform(0, 0.1))
    _send(os.killpg, run.pid, signal.SIGINT)


def interrupt_alone(run: DisturbedRun, moments: random.Random) -> None:
    """Send SIGINT to the command, not to its workers."""
    _send(os.kill, run.pid, signal.SIGINT)


def terminate(run: DisturbedRun, moments: random.Random) -> None:
    """Send SIGTERM, to the command or to all processes."""
    _send(moments.choice((os.kill, os.killpg)), run.pid, signal.SIGTERM)


def kill(run: DisturbedRun, moments: random.Random) -> None:
    """Send SIGKILL, to the command or to all processes."""
    _send(moments.choice((os.kill, os.killpg)), run.pid, signal.SIGKILL)


def kill_worker(run: DisturbedRun, moments: random.Random) -> None:
    """Send SIGKILL to a worker, if there is one."""
    if workers := sorted(tree(run.pid).keys() - {run.pid}):
        _send(os.kill, moments.choice(workers), signal.SIGKILL)


def do_nothing(run: DisturbedRun, moments: random.Random) -> None:
    """Let it run to its end."""


def shard_command(source: Path, target: Path, workers: int) -> list[str]:
    """Return the command that makes a set."""
    command = [sys.executable, "-m", "sharding", "shard", "diode", str(source), str(target), "--split", "train"]
    return [*command, "--shard-size", "500KB", "--workers", str(workers)]
