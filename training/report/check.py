"""What is wrong with the options of `compare`, found without torch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sharding.errors import UsageError, named_by_user
from sharding.machine.files import check_writable
from training.config import CompareConfig
from training.launch.launcher import check_accelerator
from training.runfolder import find_checkpoint, load_config


def check_compare(config: CompareConfig) -> None:
    """Check that each run is there, and the report can be written; makes no file.

    Raises:
        UsageError: A run is missing, or the report cannot be a file there.
    """
    check_accelerator(config.accelerator)
    check_writable(config.out, "--out", folder=False)
    with named_by_user():
        for run in config.runs:
            load_config(run)
            find_checkpoint(run, "last")
    check_names([Path(run).resolve().name for run in config.runs])


def check_names(names: Sequence[str]) -> None:
    """Check that the arms of a comparison, which are named after their run folders, have different names.

    Raises:
        UsageError: Several have the same.
    """
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise UsageError(
            f"arms are named after their run folders, and several are called {', '.join(twice)}; rename a folder"
        )
