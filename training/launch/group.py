"""The process group of a run: how long its collectives may take, and how it ends.

gloo notices at once when a peer is gone. NCCL does not: its kernels wait on the GPU for peers that will not come, so
whatever then waits for the GPU hangs, moving the model to the CPU in Lightning's teardown for example. So a rank that
fails aborts the group before anything else is torn down.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import distributed
from torch.distributed import Store  # type: ignore[attr-defined]  # public, but not in its __all__

from sharding.errors import UsageError
from training.launch.devices import Placement
from training.launch.launcher import find_started
from training.launch.rendezvous import RollCall

_STARTED: list[Store] = []  # the store of the group that `start_group` started, while the group lives
_MEETINGS = count()  # of the ranks that a launcher started, in this process

GROUP_TIMEOUT = timedelta(minutes=20)
"""Longest wait in a collective: meanwhile rank 0 writes a checkpoint of some GB, perhaps to a slow file system; or a
rank waits for a sample, which its worker gives up after `training.loading.read_ahead.WAIT_S`, 15 minutes."""


class AbortsGroup(Strategy):
    """A base of strategies whose ranks leave the process group as soon as training raises."""

    def on_exception(self, exception: BaseException) -> None:
        """Abort the group; Lightning calls this before it tears anything down."""
        super().on_exception(exception)
        abort_group()


class DepthDDP(AbortsGroup, DDPStrategy):
    """DDP with `GROUP_TIMEOUT` that aborts its group on errors; arguments as those of `DDPStrategy`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=GROUP_TIMEOUT, **options)


class SameOnAllRanks(Callback):
    """A callback that compares what the ranks are about to do, before the first step.

    Ranks that do different things, such as accumulating other numbers of micro-batches, would wait for each other in
    collectives that never match.

    Args:
        plan: What must be the same, by name; values that `==` compares.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = dict(plan)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with rank 0.

        Raises:
            UsageError: Something differs; the message has the first of it, and both values.
        """
        first = trainer.strategy.broadcast(self._plan)
        for name, value in self._plan.items():
            if value != first[name]:
                raise UsageError(
                    f"{name}: expected the same on all ranks, found {first[name]} on rank 0, {value} here; start all "
                    "with the same command and the same version"
                )


def start_group(placement: Placement) -> None:
    """Start the process group of ranks that `torchrun` or SLURM started; Lightning then uses it.

    Does nothing for other ranks, which Lightning brings together, and if there is a group. `ending_together` ends it.

    Raises:
        DataError: Some ranks did not come in time, or rank 0 cannot be reached.
        UsageError: The port is in use; or it seems that nothing started the other ranks; or NCCL refuses to bring them
            together, because two have the same GPU for example.
    """
    started = find_started()
    if started is None or started.world == 1 or has_group():
        return
    environment = placement.make_environment()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    device = placement.devices[placement.local_rank] if placement.kind == "cuda" else None
    if device is not None:
        torch.cuda.set_device(device)  # NCCL would take the first
    address = (environment.main_address, environment.main_port)
    store = RollCall(started, placement.rank, *address, meeting=next(_MEETINGS)).meet()
    _STARTED.append(store)
    try:
        distributed.init_process_group(
            "gloo" if device is None else "nccl",
            store=store,
            rank=placement.rank,
            world_size=placement.world,
            timeout=GROUP_TIMEOUT,
            device_id=device,
        )
    except distributed.DistBackendError as error:
        raise UsageError(_explain_refusal(error)) from error


def _explain_refusal(error: Exception) -> str:
    """Return what NCCL says last, which is the cause: what comes before are its source files and kinds of errors."""
    cause = str(error).strip().splitlines()[-1]
    remedy = "give each rank a GPU of its own" if "Duplicate GPU" in cause else "NCCL_DEBUG=WARN shows more"
    return f"NCCL cannot bring the ranks together: {cause}; {remedy} (docs/multi-gpu.md)"


@contextlib.contextmanager
def joined(placement: Placement) -> Iterator[None]:
    """Be in the process group of the run during the block, if a launcher started it; see `start_group`."""
    try:
        start_group(placement)
        yield
    except BaseException:
        abort_group()
        raise
    finally:
        if started_here():
            end_group()


def started_here() -> bool:
    """Tell whether `start_group` started the present group."""
    return bool(_STARTED)


def shared_store() -> Store | None:
    """Return the store that the ranks share, if `start_group` started the present group."""
    return _STARTED[-1] if _STARTED else None


def has_group() -> bool:
    """Tell whether this process is in a process group now."""
    return distributed.is_available() and distributed.is_initialized()


def abort_group() -> None:
    """Leave an NCCL group without waiting for its unfinished collectives; does nothing for other backends, or alone."""
    if has_group() and distributed.get_backend() == "nccl":
        # Experimental, but the only way that does not wait; it also makes torch forget the group, so that Lightning's
        # handler at exit does not wait for it either.
        distributed.distributed_c10d._abort_process_group()
        _STARTED.clear()


def end_group() -> None:
    """Destroy the group of a run that has ended well: gloo's threads may abort a process that exits with it."""
    _STARTED.clear()
    if has_group():
        distributed.destroy_process_group()
