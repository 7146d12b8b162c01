"""Which ranks are gone and why, told by the store that the ranks share: each rank that fails leaves a note there.

A rank that was killed leaves none. gloo and NCCL only report that some connection broke.
"""

import time
from contextlib import suppress
from datetime import timedelta

from torch.distributed import Store  # type: ignore[attr-defined]  # public, but not in its __all__

from training.launch.world import World

WAIT_S = 5.0
"""Longest wait for the notes of other ranks, seconds; they notice a broken connection at about the same time."""

_NOTE = "note/{rank}"


def leave_note(store: Store, world: World, text: str) -> None:
    """Leave what happened to this rank: its own error, or "" if it has only lost another one."""
    with suppress(RuntimeError):  # rank 0, which keeps the store, is gone
        store.set(_NOTE.format(rank=world.rank), text)


def await_notes(store: Store, world: World) -> bool:
    """Wait for the notes of all ranks, at most `WAIT_S`; return whether they are there."""
    deadline = time.monotonic() + WAIT_S
    keys = [_NOTE.format(rank=rank) for rank in range(world.size)]
    with suppress(RuntimeError):
        while not (whole := all(store.check([key]) for key in keys)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return whole
    return False


def find_lost(store: Store, world: World) -> list[str]:
    """Find the ranks that are gone or have failed by themselves, after this one has left its own note.

    Returns:
        A line for each, such as "rank 1 is gone: it was killed, or has ended, or its machine is down".
    """
    others = [rank for rank in range(world.size) if rank != world.rank]
    try:
        store.set_timeout(timedelta(seconds=WAIT_S))
        await_notes(store, world)
        found = {rank: _read(store, rank) for rank in others}
    except RuntimeError:
        return [_gone(0)] if world.rank else []
    return [f"rank {rank}: {note}" if note else _gone(rank) for rank, note in found.items() if note != ""]


def _read(store: Store, rank: int) -> str | None:
    """Read the note of a rank; None if there is none."""
    key = _NOTE.format(rank=rank)
    return bytes(store.get(key)).decode() if store.check([key]) else None


def _gone(rank: int) -> str:
    return f"rank {rank} is gone: it was killed, or has ended, or its machine is down"
