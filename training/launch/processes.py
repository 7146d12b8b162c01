"""How the processes of a run end together: none waits for one that is gone, and each reports what happened to it.

`torchrun` and SLURM end the processes that they started when one of them fails. Those that Lightning starts on one
machine are watched here: rank 0 watches the others, and they watch rank 0.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pytorch_lightning.strategies import Strategy
from torch import distributed
from torch.distributed import Store  # type: ignore[attr-defined]  # public, but not in its __all__

from sharding.errors import DataError, Interrupted, UsageError
from sharding.progress import is_bar_shown
from training.launch.devices import Placement
from training.launch.group import abort_group, end_group, has_group, shared_store, started_here
from training.launch.launcher import RANK_ZERO
from training.launch.notes import await_notes, find_lost, leave_note
from training.launch.out_of_memory import describe_lack
from training.launch.worker_errors import causes, name_worker, plain_message, worker_died
from training.launch.world import World

Child = subprocess.Popen[Any]

GRACE_S, STOP_GRACE_S, PERIOD_S = 10.0, 60.0, 0.5
"""Seconds that other ranks have to end by themselves, after a failure and after a stop; seconds between two checks."""

# Exit statuses of processes that end by `Interrupted`.
_STOPPED = {128 + number for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)}
_LESS_MEMORY = "give this run less to compute at once, or a device with more memory"
_FEWER_WORKERS = "run again with fewer --num-workers, or with more memory"
# Pieces of the RuntimeErrors by which gloo and NCCL report that the other end of a connection is gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


@contextlib.contextmanager
def ending_together(placement: Placement, strategy: Strategy, remedy: str = "") -> Iterator[None]:
    """Wrap training, so that all ranks end when one fails; with one process this only makes errors readable.

    When a rank fails, the others end too: by themselves if they notice it, else after `GRACE_S`. A rank that Lightning
    started ends when rank 0 is gone.

    Args:
        placement: Devices and processes of the run.
        strategy: Strategy of its trainer; it may be set up later.
        remedy: What to do when memory runs out.

    Raises:
        DataError: As raised within, with the rank; or another rank is gone; or a loader worker died; or memory ran out.
        UsageError: As raised within, with the rank.
        Interrupted: As raised within.
    """
    world, was_there = World(placement.rank, placement.world), has_group()
    with _watching(placement, strategy, world) as watch:
        try:
            yield
        except BaseException as error:
            store = shared_store()
            abort_group()  # if Lightning has not: the error may have come from outside its `fit`
            # Before the message is made: how the other ranks ended is part of it.
            lost = watch.end_children() if watch else _exchange_notes(store, world, error)
            plain = explain(error, world, lost, remedy)
            if plain is error:
                raise
            raise plain from error
        if started_here() or not was_there:  # not that of a program which calls this one
            end_group()


def _exchange_notes(store: Store | None, world: World, error: BaseException) -> list[str]:
    """Tell the other ranks of an error of this one's own; if it lost another rank, find out which, and why."""
    if store is None:
        return []
    if _has_lost(error):
        leave_note(store, world, "")
        return find_lost(store, world)
    leave_note(store, world, plain_message(error) or repr(error))
    if world.rank == 0:
        await_notes(store, world)  # it keeps the store, in which the others look for the cause
    return []


def _has_lost(error: BaseException) -> bool:
    """Return whether an error is how gloo or NCCL report that the other end of a connection is gone."""
    network = (distributed.DistNetworkError, distributed.DistStoreError)
    return any(
        isinstance(one, network) or (isinstance(one, RuntimeError) and any(word in str(one) for word in _LOST))
        for one in causes(error)
    )


def explain(error: BaseException, world: World, lost: Sequence[str] = (), remedy: str = "") -> BaseException:
    """Turn an error of training into one with a message for the user.

    Args:
        error: Raised by the trainer; its causes and contexts are searched, too.
        world: If it has more than one process, the text begins with the rank.
        lost: How other ranks ended, if some ended before.
        remedy: What to do when memory runs out; "" is a general advice.

    Returns:
        The error to raise in its place; the error itself if it is unexpected, because its traceback is needed then.
    """
    if not isinstance(error, Exception):
        return error
    prefix = f"rank {world.rank} of {world.size}: " if world.size > 1 else ""
    chain = list(causes(error))
    for one in chain:  # these first: a lost connection may only be their consequence
        if isinstance(one, Interrupted):
            return one
        if isinstance(one, DataError | UsageError):
            return type(one)(prefix + plain_message(one))
    if lack := describe_lack(error):
        worker = next(filter(None, map(name_worker, chain)), "")
        remedy = _FEWER_WORKERS if worker else remedy or _LESS_MEMORY
        return DataError(f"{prefix}{worker and worker + ': '}{lack.rstrip('.')}; {remedy}")
    for one in chain:
        if worker_died(one):
            return DataError(prefix + plain_message(one))
        if world.size > 1 and isinstance(one, distributed.DistNetworkError | distributed.DistStoreError):
            return DataError(prefix + _say_unreachable(str(one)))
        if world.size > 1 and isinstance(one, RuntimeError) and (lost or any(word in str(one) for word in _LOST)):
            reason = ", ".join(lost) or str(one).strip().splitlines()[0]
            return DataError(prefix + _say_lost(reason))
    return error


def _say_unreachable(reason: str) -> str:
    """Return the message for ranks that cannot connect to each other, or have lost the connection."""
    where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    return f"the ranks cannot reach each other at {where} (MASTER_ADDR:MASTER_PORT): {reason}; see docs/multi-gpu.md"


def _say_lost(reason: str) -> str:
    return f"lost another rank ({reason}); its own error is above or in its log; run again with --resume"


@contextlib.contextmanager
def _watching(placement: Placement, strategy: Strategy, world: World) -> Iterator["ChildWatch | None"]:
    """Watch the other ranks from rank 0, and rank 0 from the others; nothing if an external launcher watches."""
    if placement.external or world.size == 1:
        yield None
    elif world.rank == 0:
        os.environ[RANK_ZERO] = str(os.getpid())  # inherited by the processes that Lightning starts
        watch = ChildWatch(strategy, world)
        watch.start()
        try:
            yield watch
        finally:
            watch.over.set()
            del os.environ[RANK_ZERO]
    else:
        over = threading.Event()
        # From the environment: if rank 0 is gone already, another process is the parent by now.
        rank_zero = int(os.environ.get(RANK_ZERO, os.getppid()))
        threading.Thread(target=_watch_rank_zero, args=(rank_zero, world, over), daemon=True).start()
        yield None
        over.set()  # not reached after an error: if this process then hangs while it ends, the watch must end it


class ChildWatch(threading.Thread):
    """A thread of rank 0 that watches the ranks Lightning started; ends all if one fails and rank 0 does not notice.

    Args:
        strategy: Its launcher, once it exists, holds the processes.
        world: Rank 0, and the number of ranks.

    Attributes:
        over: Set when rank 0 has finished, which ends the thread.
    """

    def __init__(self, strategy: Strategy, world: World) -> None:
        super().__init__(daemon=True, name="child-watch")
        self.over = threading.Event()
        self._strategy, self._world = strategy, world

    def run(self) -> None:
        """Check the processes every `PERIOD_S`."""
        while not self.over.wait(PERIOD_S):
            _disarm_observer()
            failed = {child.poll() for child in self._children()} - {None, 0}  # None: still running
            if failed:  # after a stop rank 0 is saving, or about to; that takes longer than to notice a failure
                self._await_end(STOP_GRACE_S if failed <= _STOPPED else GRACE_S)

    def end_children(self) -> list[str]:
        """Give the other ranks `GRACE_S` to end by themselves, then kill them.

        Returns:
            How each rank ended that failed before it was killed.
        """
        self.over.set()
        _disarm_observer()
        deadline = time.monotonic() + GRACE_S
        for child in self._children():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        return self._kill()

    def _children(self) -> list[Child]:
        return list(getattr(self._strategy.launcher, "procs", ()))

    def _kill(self) -> list[str]:
        children = self._children()
        lost = _describe(children)  # before the kill, so that only failures of their own are listed
        for child in children:
            child.kill()
        return lost

    def _await_end(self, grace_s: float) -> None:
        """End all ranks if rank 0 does not end in time.

        It may hang in a collective that the failed rank will not join, where no exception can reach it.
        """
        if not self.over.wait(grace_s):
            _die(f"rank 0 of {self._world.size}: {_say_lost(', '.join(self._kill()))}")


def _watch_rank_zero(pid: int, world: World, over: threading.Event) -> None:
    """End this process if rank 0 is gone and the main thread does not notice."""
    while os.getppid() == pid:  # an orphan gets another parent
        if over.wait(PERIOD_S):
            return
    if not over.wait(GRACE_S):
        _die(f"rank {world.rank} of {world.size}: {_say_lost(f'rank 0, process {pid}')}")


def _disarm_observer() -> None:
    """Disable Lightning's own watch, which kills rank 0 within 5 s, before it has reported what happened.

    That is `_ChildProcessObserver` in lightning_fabric/strategies/launchers/subprocess_script.py.
    """
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            thread._child_processes = []  # type: ignore[attr-defined]  # with none to watch it ends


def _describe(children: Sequence[Child]) -> list[str]:
    """Describe how the children ended that failed."""
    statuses = {rank: child.poll() for rank, child in enumerate(children, start=1)}
    return [f"rank {rank} {_say_status(status)}" for rank, status in statuses.items() if status]


def _say_status(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _die(text: str) -> None:
    """End the process at once, whatever the main thread is blocked in; `sys.exit` would end this thread only."""
    sys.stderr.write("\n" * is_bar_shown() + text + "\n")
    sys.stderr.flush()
    os._exit(1)
