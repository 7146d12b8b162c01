"""Training runs of the checks, in this process and in others, and what they leave."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.config import FinetuneConfig
from training.finetuning import finetune
from training.runfolder import CHECKPOINTS_NAME

ROOT = Path(__file__).parents[2]
LAST = f"{CHECKPOINTS_NAME}/last.ckpt"


def train(config: FinetuneConfig) -> list[float]:
    """Fine-tune in this process; return the loss of each step. The checkpoints, of some GB, are removed."""
    finetune.run(config)
    shutil.rmtree(Path(config.out) / CHECKPOINTS_NAME)
    return losses(Path(config.out))


def read_series(folder: Path, tag: str) -> list[float]:
    """Read the values of a tag from the TensorBoard events below a folder, in the order of steps."""
    logs = {path.parent for path in folder.rglob("events.out.*")}
    points = [
        (one.step, one.value)
        for log in logs
        for one in _scalars(EventAccumulator(str(log), size_guidance={"scalars": 0}).Reload(), tag)
    ]
    return [value for _, value in sorted(points)]


def _scalars(events: EventAccumulator, tag: str) -> list[Any]:
    return list(events.Scalars(tag)) if tag in events.Tags()["scalars"] else []


def losses(folder: Path) -> list[float]:
    """Read the training losses of a fine-tuning run: of each step, or each other one."""
    return read_series(folder, "train_loss")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a fine-tuning run's last checkpoint."""
    content = torch.load(folder / LAST, map_location="cpu", weights_only=True, mmap=True)
    found: dict[str, torch.Tensor] = content["state_dict"]
    return found


def count_differing(one: Path, other: Path) -> int:
    """Count the tensors that are not bit for bit the same in the last checkpoints of two runs."""
    found, expected = weights(one), weights(other)
    return sum(not torch.equal(found[name], expected[name]) for name in expected)


def start(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, whose output goes to a file."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    given = os.environ | {"PYTHONPATH": path} | (environment or {})
    with log.open("wb") as opened:
        return subprocess.Popen(command, stdout=opened, stderr=opened, env=given, start_new_session=True)


def signal_when(process: subprocess.Popen[bytes], ready: Callable[[], bool], number: int, limit_s: float) -> None:
    """Send a signal to a process and its children once `ready`.

    Raises:
        RuntimeError: It ended before, or was not ready within the limit.
    """
    deadline, name = time.monotonic() + limit_s, signal.Signals(number).name
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"ended with status {process.returncode} before it was sent {name}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not ready for {name} within {limit_s:.0f} s")
        time.sleep(0.02)
    os.killpg(process.pid, number)


def wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """Wait for the end of a process; kill it, its children too, after the limit, and return None then."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def count_left(group: int) -> int:
    """Count the processes of a group that live (Linux)."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(") ")[2].split()[:3]
        except OSError:
            continue  # it has just ended
        count += int(pgrp) == group and state != "Z"
    return count
