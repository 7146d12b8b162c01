import multiprocessing
import os
import re
import signal
import tempfile
import time

import pytest
import torch

from sharding.errors import DataError
from training.checkpoint.newest import find_damage
from training.checkpoint.writer import AtomicCheckpointIO

MOMENTS, LIMIT_S = 6, 60
FLOATS, TENSORS = 1_000_000, 12


def content(number):
    return {"weights": [torch.full((FLOATS,), float(number)) for _ in range(TENSORS)], "number": number}


def read(path):
    found = torch.load(path, weights_only=True)
    ends = {value.item() for weights in found["weights"] for value in weights.aminmax()}
    assert ends == {found["number"]}
    return found["number"]


def write_in_process(path, number, began, system):
    torch.set_num_threads(1)  # a thread pool that the tests before have used does not survive the fork
    tempfile.tempdir = str(system)
    checkpoint = content(number)
    began.set()
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


def start(path, number, system):
    context = multiprocessing.get_context("fork")
    began = context.Event()
    process = context.Process(target=write_in_process, args=(path, number, began, system), daemon=True)
    process.start()
    assert began.wait(LIMIT_S)
    return process


def test_a_checkpoint_is_written_and_read(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"number": 1}, str(tmp_path / "new" / "last.ckpt"))
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "new" / "last.ckpt") == {"number": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.ckpt"]


def test_a_failed_write_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"number": 1}, path)
    with pytest.raises((AttributeError, TypeError)):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(1000), "number": lambda: 2}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"number": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    path = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: the checkpoint could not be written: "):
        AtomicCheckpointIO().save_checkpoint({"number": 1}, path)


def halves_in(folder):
    """The file that is being written, if there is one."""
    return list(folder.glob(".last.ckpt.*.tmp"))


def wait_for_size(folder, size, process):
    """Until so much of the file is written, or the process is through."""
    deadline = time.monotonic() + LIMIT_S
    while process.is_alive() and max(map(size_of, halves_in(folder)), default=-1) < size:
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def size_of(path):
    return path.stat().st_size if path.exists() else 0  # it may have been renamed


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    """Processes that write 48 MB are killed when so much of it is written; the first before, the last after all."""
    folder, system = tmp_path / "checkpoints", tmp_path / "system"
    system.mkdir()
    path, old, halves = folder / "last.ckpt", 0, 0
    AtomicCheckpointIO().save_checkpoint(content(0), path)
    for moment in range(MOMENTS):
        number, process = moment + 1, start(path, moment + 1, system)
        try:
            if moment > 0:
                wait_for_size(folder, path.stat().st_size * moment / (MOMENTS - 1), process)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.join(LIMIT_S)
        assert find_damage(path) is None
        left = halves_in(folder)
        assert read(path) == (old if left else number) or (moment == 0 and read(path) == old)
        assert len(left) <= 1
        assert set(folder.iterdir()) == {path, *left}
        assert list(system.iterdir()) == []
        halves, old = halves + len(left), read(path)
        for half in left:
            half.unlink()
    assert halves >= 2
