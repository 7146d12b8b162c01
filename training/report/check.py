"""What is wrong with the options of `compare`, found without torch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sharding.errors import UsageError, named_by_user
from sharding.machine.files import check_kind, check_writable
from sharding.reading.missing import explain_missing
from sharding.stores.address import is_remote
from training.config import CompareConfig
from training.launch.launcher import check_accelerator
from training.runfolder import CONFIG_NAME, find_checkpoint, load_config


def check_compare(config: CompareConfig) -> None:
    """Check that each run is there, and the report can be written; makes no file.

    Raises:
        UsageError: A run is missing, or the report cannot be a file there.
    """
    check_accelerator(config.accelerator)
    check_writable(config.out, "--out", folder=False)
    check_kind(config.out, "--out", "a report", b"<!doctype html")
    with named_by_user():
        for run in config.runs:
            _check_val(run, load_config(run).get("val"))
            find_checkpoint(run, "last")
    check_names([Path(run).resolve().name for run in config.runs])


def _check_val(run: str, val: object) -> None:
    """Check that the validation set of a run is there, if it is on this machine.

    Raises:
        UsageError: It is not.
    """
    if isinstance(val, str) and not is_remote(val) and (missing := explain_missing(val)):
        raise UsageError(
            f"{Path(run, CONFIG_NAME)}, val: {missing}; a relative path in it is that of the folder in which the run "
            "was trained: change to that folder"
        )


def check_names(names: Sequence[str]) -> None:
    """Check that the arms of a comparison, which are named after their run folders, have different names.

    Raises:
        UsageError: Several have the same.
    """
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise UsageError(
            f"arms are named after their run folders, and several are called {', '.join(twice)}; rename a folder"
        )
