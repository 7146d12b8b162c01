"""What is wrong with the options of `compare`, found without torch."""

from sharding.errors import UsageError, named_by_user
from sharding.machine.files import check_kind, check_writable
from sharding.reading.check import check_set
from training.config import CompareConfig
from training.launch.launcher import check_accelerator
from training.report.arms.grouping import read_arms
from training.report.arms.pairs import choose_pairs
from training.report.arms.target import choose_target
from training.runfolder import find_checkpoint
from training.set_options import cache_settings


def check_compare(config: CompareConfig) -> None:
    """Check that runs and set are there, arms and contrasts are named well, and the report can be written.

    Makes no file.

    Raises:
        UsageError: One of them is not so.
        DataError: The set is damaged, or cannot be reached.
    """
    check_accelerator(config.accelerator)
    check_writable(config.out, "--out", folder=False)
    check_kind(config.out, "--out", "a report", b"<!doctype html")
    with named_by_user():
        arms = read_arms(config.runs, config.arm)
        choose_pairs(config.contrasts, [arm.name for arm in arms])
        for arm in arms:
            for run in arm.runs:
                find_checkpoint(run.folder, "last")
        target = choose_target(arms, config.val, config.where)
    try:
        check_set(target.address, target.where, cache_settings(config))
    except UsageError as error:
        if config.where is not None or not str(error).startswith("--where"):
            raise
        raise UsageError(f"{error}; that is the condition of the runs: give --where, '' for all samples") from error
