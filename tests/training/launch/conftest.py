"""Jobs: commands of several processes, each told from others by a mark in its environment."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIMIT_S = 400  # for any wait; jobs take 20 s on an idle machine
_MARK = "DEPTHSTREAM_TEST_JOB"
_NOT_INHERITED = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class Job:
    """What a test starts, with all that comes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._mark, self._started = folder, f"{_MARK}={uuid.uuid4()}".encode(), []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command; what it says goes to a file (see `text`)."""
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        name, _, value = self._mark.decode().partition("=")
        ours = {name: value, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        with (self.folder / f"{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen(command, env=inherited | ours | environment, stdout=log, stderr=log)
        self._started.append(process)
        return process

    def text(self, number: int = 0) -> str:
        """What a command has said so far."""
        return (self.folder / f"{number}.log").read_text()

    def find(self, variable: str = "") -> list[int]:
        """Living processes of the job, or those with `NAME=value` in their environment, oldest first."""
        return [
            pid
            for pid, environment in _read_environments()
            if self._mark in environment and (not variable or variable.encode() in environment)
        ]

    def wait(self) -> list[int]:
        """Exit statuses of the commands, once every process of the job has ended."""
        self.wait_for(lambda: not self.find(), "the end of all processes")
        return [process.wait(LIMIT_S) for process in self._started]

    def wait_for(self, reached: Callable[[], object], what: str) -> None:
        """Wait until `reached()`."""
        deadline = time.monotonic() + LIMIT_S
        while not reached():
            left = {process.pid: process.poll() for process in self._started}
            assert time.monotonic() < deadline, f"waited for {what}: {self.find()} live, {left}; {self.text()[-3000:]}"
            time.sleep(0.2)

    def kill(self) -> None:
        """End what is left."""
        for pid in self.find():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait(LIMIT_S)


def _read_environments() -> Iterator[tuple[int, list[bytes]]]:
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):  # another's, or gone; that of a zombie is empty
            yield int(folder.name), (folder / "environ").read_bytes().split(b"\0")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A job; what is left of it is killed, and its checkpoints (0.4 GB each) are deleted."""
    started = Job(tmp_path)
    try:
        yield started
    finally:
        started.kill()
        for path in tmp_path.rglob("*.ckpt"):
            path.unlink()


@pytest.fixture
def finetune(diode_sets, tmp_path: Path) -> Callable[..., list[str]]:
    """A function from options to the command of the installed program, of the least network and one epoch."""

    def make(**options: object) -> list[str]:
        train, val = (one.url for one in diode_sets)
        given = {
            "val": val,
            "out": tmp_path / "run",
            "encoder_name": "resnet18",
            "height": 40,
            "width": 48,
            "epochs": 1,
            "batch_size": 20,
            "num_workers": 1,
            "accelerator": "cpu",
        } | options
        program = str(Path(sys.executable).with_name("depthstream"))
        words = [word for name, value in given.items() if name != "set" for word in (_option(name), str(value))]
        return [program, "finetune", str(given.get("set", train)), *words]

    return make


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@pytest.fixture
def free_port() -> str:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
