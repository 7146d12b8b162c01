"""The set that runs are compared on: what they were validated on, the scenes they held out, or one that is given."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import read_manifest
from sharding.stores.address import shown
from sharding.stores.opening import open_store
from training.depth_options import choose_val_where
from training.report.arms.grouping import Arm
from training.report.arms.run import Run
from training.report.arms.sets import Part, find_set, judged_on


@dataclass(frozen=True, kw_only=True)
class Target:
    """The set that runs are compared on.

    Attributes:
        address: Folder or URL.
        where: Condition on the index; None means all.
        held_out: Whether it consists of scenes that all runs held out of training, and were monitored on.
        untouched: Whether it is that of --val, and no run opened it while it trained.
    """

    address: str
    where: str | None
    held_out: bool = False
    untouched: bool = False


def choose_target(arms: Sequence[Arm], val: str | None, where: str | None) -> Target:
    """Find the set that all runs can be compared on.

    Args:
        arms: The arms.
        val: Folder or URL of a set to compare on; None for what the runs were validated on.
        where: Condition on the index, blank for all samples; None for that of the runs' validation.

    Raises:
        UsageError: The runs were validated on different sets, and none is given; or on different parts of one.
        DataError: The set is not where the runs tell; the message names where it was looked for.
    """
    runs = [run for arm in arms for run in arm.runs]
    if val is not None:
        return Target(address=val, where=choose_val_where(_common_where(runs) if where is None else None, where))
    found = [_Found(run, judged_on(run)) for run in runs]
    keys = {one.key for one in found}
    if len({identity for identity, _ in keys}) > 1 or (len(keys) > 1 and where is None):
        listed = "; ".join(dict.fromkeys(f"{one.run.name} on {one.part.describe()}" for one in found))
        raise UsageError(
            "these runs cannot be compared because they were validated on different sets, and a metric depends on its "
            f"images: {listed}. Give one set with --val SET"
        )
    address = _first_address(found)
    return Target(
        address=address,
        where=choose_val_where(next(iter(keys))[1], where),
        held_out=all(one.part.held_out for one in found),
        untouched=all(one.part.identity is None for one in found),
    )


def _common_where(runs: Sequence[Run]) -> str | None:
    """Return the condition of the runs' validation.

    Raises:
        UsageError: They had several.
    """
    found: dict[str | None, None] = dict.fromkeys(
        choose_val_where(run.config["where"], run.config["val_where"]) for run in runs
    )
    if len(found) > 1:
        listed = ", ".join(str(one or "all samples") for one in found)
        raise UsageError(
            f"these runs were validated on different parts of their sets ({listed}): give one with --where, '' for all "
            "samples"
        )
    return next(iter(found))


@dataclass(frozen=True)
class _Found:
    """A run and the part of a set that it is to be judged on."""

    run: Run
    part: Part

    @property
    def key(self) -> tuple[str | None, str | None]:
        if self.part.identity is None:  # a set that the run has not opened: of what identity is it?
            address = find_set(self.part, self.run)
            return read_manifest(open_store(address), shown(address)).identity, self.part.where
        return self.part.key


def _first_address(found: Sequence[_Found]) -> str:
    """Return the address of the set by the first run that knows it.

    Raises:
        DataError: None does.
    """
    errors = []
    for one in found:
        try:
            return find_set(one.part, one.run)
        except DataError as error:
            errors.append(str(error))
    raise DataError(f"{errors[0]}; give it with --val SET")
