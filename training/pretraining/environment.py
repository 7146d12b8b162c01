"""LightlyTrain's environment while it trains: folders, messages and warnings; the one place that sets it."""

import contextlib
import os
import re
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from training.launch.devices import Placement
from training.runfolder import LIGHTLY_CACHE_NAME

_DEFAULTS = {"LIGHTLY_TRAIN_EVENTS_DISABLED": "1", "LIGHTLY_TRAIN_LOG_LEVEL": "WARNING"}
# Set by torchrun or SLURM, and the same in all ranks of a launch.
_LAUNCH_VARIABLES = (
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    "MASTER_PORT",
)
# Warnings that a user can do nothing about: Lightning and LightlyTrain call what torch deprecates; a run folder moved.
_NOT_OURS = (
    r".*isinstance\(treespec, LeafSpec\)",
    r".*torch\.nn\.utils\.weight_norm",
    r"The dirpath has changed.*",
)


@contextlib.contextmanager
def environment_of_run(folder: Path, placement: Placement) -> Iterator[None]:
    """Direct LightlyTrain's locks and name lists into the run folder, its progress and warnings to stderr.

    Its cache of model weights stays where the user has it; its full log is `RUN/lightly/train.log`.

    Args:
        folder: Folder of the run.
        placement: Devices and processes of the run.
    """
    cache = _claim_cache(folder / LIGHTLY_CACHE_NAME, placement)
    ours = {"LIGHTLY_TRAIN_TMP_DIR": str(cache), "LIGHTLY_TRAIN_DATA_CACHE_DIR": str(cache)}
    ours |= {name: os.environ.get(name, default) for name, default in _DEFAULTS.items()}
    before = {name: os.environ.pop(name, None) for name in ours}
    os.environ.update(ours)
    try:
        # stdout is for the result of the command, which may be JSON.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            for message in _NOT_OURS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if value is not None})
        if placement.local_rank == 0:
            shutil.rmtree(cache, ignore_errors=True)
            with contextlib.suppress(OSError):  # not empty: another node may still train
                cache.parent.rmdir()


def _claim_cache(folder: Path, placement: Placement) -> Path:
    """Return a folder that the ranks of this launch on this node share with no other launch.

    Locks that a killed run leaves would block the next one, or let its ranks pass each other. The ranks cannot
    communicate yet, but each knows the launch it belongs to.
    """
    host = socket.gethostname()
    ours = folder / f"{host}-{_name_launch(placement)}"
    if placement.local_rank == 0:
        # Of this host alone: other nodes share the run folder and clean up their own.
        for left in folder.glob(f"{host}-*"):
            if left != ours:
                shutil.rmtree(left, ignore_errors=True)
    return ours


def _name_launch(placement: Placement) -> str:
    """Name a launch alike in all its ranks: by what the launcher set, or by the process id of rank 0."""
    if not placement.external:
        return str(os.getpid() if placement.rank == 0 else os.getppid())
    known = {name: os.environ[name] for name in _LAUNCH_VARIABLES if name in os.environ}
    return "-".join(re.sub(r"\W", "", value) for value in known.values())
