"""What each loader worker is doing, in memory that it shares with its trainer: a worker that is killed cannot tell.

A worker has a slot, uint8 (512,): process id (int64), length of the text (int64), text (UTF-8).
"""

import os
import threading
from collections.abc import Collection
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray

from training.launch.shared_tensors import to_shared

_SLOT_BYTES, _HEAD_BYTES = 512, 16

_loaders: "WeakSet[Whereabouts]" = WeakSet()  # of this process
_own_slot: list[NDArray[np.uint8]] = []  # of this process, if it is a worker
_writing = threading.Lock()


class Whereabouts:
    """The slots of the workers of one loader. Picklable: a worker gets the shared memory, not a copy.

    Args:
        num_workers: Their number.
    """

    def __init__(self, num_workers: int) -> None:
        self._slots = to_shared(torch.zeros((num_workers, _SLOT_BYTES), dtype=torch.uint8))
        _loaders.add(self)

    def enter(self, worker_id: int) -> None:
        """Make this process a worker, whose `note` goes to its slot."""
        slot = self._slots.numpy()[worker_id]
        slot[:8].view(np.int64)[0] = os.getpid()
        _own_slot[:] = [slot]

    def read(self) -> dict[int, str]:
        """Return the last note of each worker, by its process id; "" if it was between two batches."""
        found = {}
        for slot in self._slots.numpy():
            pid, length = slot[:_HEAD_BYTES].view(np.int64).tolist()
            # The end of a long text may be in the middle of a character.
            found[pid] = bytes(slot[_HEAD_BYTES : _HEAD_BYTES + length]).decode(errors="ignore")
        return found


def note(text: str) -> None:
    """Note what this process begins to do, such as "decoding shard a, key b"; "" for nothing. Only workers do so."""
    if not _own_slot:  # also in a trainer that is about to fork: a child must not inherit the lock while it is held
        return
    with _writing:
        for slot in _own_slot:
            _write(slot, text)


def leave() -> None:
    """End the notes of this process, which is told to end: what it was doing then is not why a run fails."""
    with _writing:
        for slot in _own_slot:
            _write(slot, "")
        _own_slot.clear()  # other threads go on until the process is gone


def _write(slot: NDArray[np.uint8], text: str) -> None:
    content = np.frombuffer(text.encode()[: _SLOT_BYTES - _HEAD_BYTES], np.uint8)
    length = slot[8:_HEAD_BYTES].view(np.int64)
    length[0] = 0  # a worker that is killed now leaves nothing, rather than half of it
    slot[_HEAD_BYTES : _HEAD_BYTES + len(content)] = content
    length[0] = len(content)


def last_notes(pids: Collection[int] = ()) -> list[str]:
    """Return what dead workers of this process were doing; nothing of those that were between two batches.

    Args:
        pids: Their process ids; if empty, all workers that are gone.
    """
    notes = [one for loader in list(_loaders) for one in loader.read().items()]
    return [text for pid, text in notes if text and (pid in pids if pids else _is_gone(pid))]


def _is_gone(pid: int) -> bool:
    try:
        # Without waiting for it: its status is left to the process object. None while it runs.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it was waited for already, or is the child of a fork server
        return not _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
