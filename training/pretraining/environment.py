"""LightlyTrain's surroundings while it trains: folders, messages, warnings, reports, and what it does to Pillow."""

import contextlib
import os
import re
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFile

from training.launch.devices import Placement
from training.runfolder import LIGHTLY_CACHE_NAME

_LEVEL = "LIGHTLY_TRAIN_LOG_LEVEL"
_NO_REPORTS = "LIGHTLY_TRAIN_EVENTS_DISABLED"
_REPORTS_WANTED = ("0", "false", "no", "off")
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
def pillow_unchanged() -> Iterator[None]:
    """Restore how Pillow takes truncated images after the block, which imports LightlyTrain.

    With `LOAD_TRUNCATED_IMAGES`, which it sets, Pillow fills what is missing with grey and says nothing.
    """
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextlib.contextmanager
def environment_of_run(folder: Path, placement: Placement) -> Iterator[Path]:
    """Direct LightlyTrain's locks and name lists into the run folder, its progress and warnings to stderr.

    Its cache of model weights stays where the user has it; its full log is `RUN/lightly/train.log`.

    Args:
        folder: Folder of the run.
        placement: Devices and processes of the run.

    Yields:
        A folder for files of this launch alone; what a killed launch has left in its own is cleared by the next.
    """
    cache = _claim_cache(folder / LIGHTLY_CACHE_NAME, placement)
    ours = {"LIGHTLY_TRAIN_TMP_DIR": str(cache), "LIGHTLY_TRAIN_DATA_CACHE_DIR": str(cache)}
    ours |= {_NO_REPORTS: _choose_reports(), _LEVEL: os.environ.get(_LEVEL) or "WARNING"}
    before = {name: os.environ.pop(name, None) for name in ours}
    os.environ.update(ours)
    try:
        # stdout is for the result of the command, which may be JSON.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            for message in _NOT_OURS:
                warnings.filterwarnings("ignore", message=message)
            yield cache
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if value is not None})
        if placement.local_rank == 0:
            shutil.rmtree(cache, ignore_errors=True)
            with contextlib.suppress(OSError):  # not empty: another node may still train
                cache.parent.rmdir()


def switch_reports_off() -> None:
    """Switch LightlyTrain's usage reports off in this process and its children, unless the environment asks for them.

    LightlyTrain reads the variable when a run starts, and takes nothing but "1" for yes.
    """
    os.environ[_NO_REPORTS] = _choose_reports()


def _choose_reports() -> str:
    """Return what the variable must be: what the user has set it to if that asks for reports, else "1"."""
    wish = os.environ.get(_NO_REPORTS, "")
    return wish if wish.lower() in _REPORTS_WANTED else "1"


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
