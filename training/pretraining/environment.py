"""What LightlyTrain finds around it while it trains; the one place that touches its environment."""

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

_DEFAULTS = {"LIGHTLY_TRAIN_EVENTS_DISABLED": "1", "LIGHTLY_TRAIN_LOG_LEVEL": "WARNING"}
_CACHE_NAME = "lightly-cache"
_LAUNCH_VARIABLES = (
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    "MASTER_PORT",
)
# Lightning and LightlyTrain call what torch deprecates, and a run folder may be moved: a user can do nothing about it.
_NOT_OURS = (
    r".*isinstance\(treespec, LeafSpec\)",
    r".*torch\.nn\.utils\.weight_norm",
    r"The dirpath has changed.*",
)


@contextlib.contextmanager
def surroundings(folder: Path, placement: Placement) -> Iterator[None]:
    """LightlyTrain's locks and name lists go into the run folder, its progress and warnings to stderr.

    Its model weights stay where the user keeps them; all that it has to say is in `RUN/lightly/train.log`.

    Args:
        folder: Of the run.
        placement: Of the run.
    """
    cache = _claim_cache(folder / _CACHE_NAME, placement)
    ours = {"LIGHTLY_TRAIN_TMP_DIR": str(cache), "LIGHTLY_TRAIN_DATA_CACHE_DIR": str(cache)}
    ours |= {name: os.environ.get(name, default) for name, default in _DEFAULTS.items()}
    before = {name: os.environ.pop(name, None) for name in ours}
    os.environ.update(ours)
    try:
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
            with contextlib.suppress(OSError):  # another node may not be through
                cache.parent.rmdir()


def _claim_cache(folder: Path, placement: Placement) -> Path:
    """A folder that the ranks of this launch on this node share, and none of another launch.

    What a killed run leaves there would block the next one, or let its ranks pass each other. The ranks cannot talk
    yet, but know their launch.
    """
    host = socket.gethostname()
    ours = folder / f"{host}-{_name_launch(placement)}"
    if placement.local_rank == 0:
        for left in folder.glob(f"{host}-*"):
            if left != ours:
                shutil.rmtree(left, ignore_errors=True)
    return ours


def _name_launch(placement: Placement) -> str:
    """What the ranks of a launch have in common: what its launcher told them, or the process id of rank 0."""
    if not placement.external:
        return str(os.getpid() if placement.rank == 0 else os.getppid())
    known = {name: os.environ[name] for name in _LAUNCH_VARIABLES if name in os.environ}
    return "-".join(re.sub(r"\W", "", value) for value in known.values())
