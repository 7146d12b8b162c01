"""Where the ranks that a launcher started find each other: a store at rank 0, a roll call, and a limit for both.

torch waits for missing ranks in C++, where neither Ctrl-C nor a message reaches the user. Here every wait is a loop of
short calls.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from torch.distributed import (  # type: ignore[attr-defined]  # public, but not in its __all__
    DistNetworkError,
    DistStoreError,
    PrefixStore,
    Store,
    TCPStore,
)

from sharding.errors import DataError, UsageError
from sharding.progress import spoken
from training.launch.launcher import Started

LIMIT_S, DOUBTFUL_LIMIT_S = 300.0, 20.0
"""Longest wait for all ranks, seconds: of processes that were surely started, and that may not have been."""

_QUIET_S, _PERIOD_S = 5.0, 0.2  # a wait of this length is said; time between two looks
_HERE, _SEEN = "here/{rank}", "seen/{rank}"


class RollCall:
    """The meeting of the ranks of one run.

    Args:
        started: What started them.
        rank: Rank of this process.
        host: Address of rank 0 (MASTER_ADDR).
        port: Its port (MASTER_PORT).
        meeting: Number of the meeting in this process: a program may train several times.
    """

    def __init__(self, started: Started, rank: int, host: str, port: int, meeting: int = 0) -> None:
        self._started, self._rank, self._host, self._port, self._meeting = started, rank, host, port, meeting
        self._limit_s = LIMIT_S if started.certain else DOUBTFUL_LIMIT_S
        self._begin, self._said = time.monotonic(), False

    def meet(self) -> Store:
        """Wait until all ranks are here; return the store that they share.

        Raises:
            DataError: Rank 0 cannot be reached, or a rank did not come in time; the message names them.
            UsageError: The port is in use; or it seems that nothing started the other ranks.
        """
        try:
            store = PrefixStore(_prefix(self._meeting), self._connect())
            self._call(store, _HERE)
            # Rank 0 keeps the store, so it stays until all have seen the others.
            self._call(store, _SEEN, range(self._started.world) if self._rank == 0 else ())
        except (DistNetworkError, DistStoreError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"rank {self._rank} of {self._started.world}: lost rank 0 at {self._host}:{self._port}: {reason}; "
                "look at its log, and whether another program answers there"
            ) from error
        return store

    def _call(self, store: Store, key: str, expected: Iterable[int] | None = None) -> None:
        """Answer, and wait for the answers of the `expected` ranks; None: of all."""
        world = self._started.world
        store.set(key.format(rank=self._rank), "")
        missing = list(range(world) if expected is None else expected)

        def complete() -> bool:
            missing[:] = [rank for rank in missing if not store.check([key.format(rank=rank)])]
            return not missing

        self._wait(complete, lambda: f"{_ranks(missing)} of {world}")

    def _connect(self) -> Store:
        if self._rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            return self._serve()
        self._wait(self._answers, lambda: "rank 0" if self._rank else "torchrun's agent")
        return self._open(is_master=False)

    def _serve(self) -> Store:
        try:
            return self._open(is_master=True)
        except (DistNetworkError, DistStoreError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"rank 0 cannot listen at {self._host}, port {self._port}: {reason}; if another job uses the port, set "
                "MASTER_PORT to a free one, the same for all ranks"
            ) from error

    def _open(self, is_master: bool) -> Store:
        limit = timedelta(seconds=self._limit_s)
        return TCPStore(
            self._host,
            self._port,
            self._started.world,
            is_master,
            timeout=limit,
            wait_for_workers=False,
            multi_tenant=True,
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection((self._host, self._port), timeout=_QUIET_S).close()
        except OSError:
            return False
        return True

    def _wait(self, done: Callable[[], bool], missing: Callable[[], str]) -> None:
        """Wait until `done()`; report what is missing, once, and in the error after the limit."""
        while not done():
            waited = time.monotonic() - self._begin
            where = f"at {self._host}:{self._port} (MASTER_ADDR:MASTER_PORT)"
            if waited > self._limit_s:
                raise self._give_up(missing(), where)
            if waited > _QUIET_S and not self._said:
                self._said = True
                # Of any rank: that rank 0 is missing, no other would say.
                sys.stderr.write(
                    f"rank {self._rank} of {self._started.world}: waiting {where} for {missing()}, at most "
                    f"{spoken(self._limit_s)}\n"
                )
            time.sleep(_PERIOD_S)

    def _give_up(self, missing: str, where: str) -> Exception:
        world, launcher = self._started.world, self._started.launcher
        text = f"{missing} did not come within {spoken(self._limit_s)} {where}"
        if self._started.certain:
            return DataError(
                f"rank {self._rank} of {world}: {text}: look at its log, and whether its node reaches this address; "
                "see docs/multi-gpu.md"
            )
        return UsageError(
            f"{launcher}'s variables name {world} tasks, but {text}: sbatch alone starts one process, so write "
            "`srun depthstream ...` in its script, or ask for --ntasks=1"
        )


def _prefix(meeting: int) -> str:
    """Return the prefix of this meeting's keys: not those of another job, attempt or run of the same program.

    torchrun keeps its store when it starts the ranks again, and two jobs may have chosen the same port.
    """
    names = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RESTART_COUNT")
    return "/".join(["depthstream", *(os.environ.get(name, "") for name in names), str(meeting)])


def _ranks(missing: list[int]) -> str:
    shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    return f"rank{'s' * (len(missing) > 1)} {shown}"
