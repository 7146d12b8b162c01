"""Which runs are seeds of one arm: those with all options equal but the seed, or those that the user named so."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding.errors import UsageError
from training.baselines.names import CONSTANT, ROW
from training.report.arms.differences import find_factors
from training.report.arms.identity import deciding, frozen
from training.report.arms.naming import common_name
from training.report.arms.run import Run, read_run


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in their seed alone, or that were named as one arm.

    Attributes:
        name: Its name.
        runs: In the order given.
        by_hand: Whether the user named it.
    """

    name: str
    runs: tuple[Run, ...]
    by_hand: bool = False


def read_arms(folders: Sequence[str], named: Sequence[str]) -> tuple[Arm, ...]:
    """Read run folders, and group them.

    Args:
        folders: Run folders that are grouped by their options.
        named: Arms named by hand, each NAME=RUN,RUN.

    Raises:
        DataError: A folder is no run with an epoch done.
        UsageError: There is no run; one is given twice; an arm is not written NAME=RUN,RUN; or two have one name.
    """
    by_hand = [_parse(text) for text in named]
    given = [*folders, *(folder for _, members in by_hand for folder in members)]
    if not given:
        raise UsageError("missing: RUN, or --arm NAME=RUN,RUN")
    _check_once(given)
    automatic = group([read_run(folder) for folder in folders])
    arms = [*automatic, *(_read_named(name, members) for name, members in by_hand)]
    _check_names([arm.name for arm in arms])
    return tuple(arms)


def _read_named(name: str, members: Sequence[str]) -> Arm:
    return Arm(name=name, runs=tuple(read_run(folder) for folder in members), by_hand=True)


def _parse(text: str) -> tuple[str, list[str]]:
    """Split NAME=RUN,RUN.

    Raises:
        UsageError: It is not written so.
    """
    name, _, rest = text.partition("=")
    members = [member.strip() for member in rest.split(",")]
    if not name.strip() or not all(members):
        raise UsageError(f"--arm: expected NAME=RUN,RUN, found {text!r}")
    return name.strip(), members


def _check_once(folders: Sequence[str]) -> None:
    """Check that no run is given twice, by whatever paths.

    Raises:
        UsageError: One is.
    """
    times = Counter(Path(folder).expanduser().resolve() for folder in folders)
    if twice := [str(path) for path, number in times.items() if number > 1]:
        raise UsageError(f"given twice: {', '.join(twice)}; a run is one seed of one arm: give each once")


def _check_names(names: Sequence[str]) -> None:
    """Check that arms have different names, and none that of a baseline.

    Raises:
        UsageError: They have not.
    """
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise UsageError(f"several arms are called {', '.join(twice)}; name them with --arm NAME=RUN,RUN")
    if reserved := sorted(set(names) & {CONSTANT, ROW}):
        raise UsageError(
            f"an arm is called {reserved[0]}, which is the name of a baseline; name it with --arm NAME=RUN,RUN"
        )


def group(runs: Sequence[Run]) -> list[Arm]:
    """Group runs whose options are equal but for the seed; arms and runs stay in the order given."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(frozen(deciding(run)), []).append(run)
    groups = [tuple(found) for found in members.values()]
    return [Arm(name=name, runs=found) for name, found in zip(_names(groups), groups, strict=True)]


def _names(groups: Sequence[tuple[Run, ...]]) -> Iterator[str]:
    """Yield the name of each group: that of its folders, of the folder they lie in, or what is special to it."""
    factors = find_factors([[*found] for found in groups])
    parents = [{run.folder.resolve().parent.name for run in found} for found in groups]
    for place, found in enumerate(groups):
        special = ", ".join(f"{factor.name} {factor.values[place]}" for factor in factors)
        others = set().union(*parents[:place], *parents[place + 1 :])
        parent = next(iter(parents[place])) if len(parents[place]) == 1 and not parents[place] & others else ""
        yield common_name([run.name for run in found]) or (parent if len(groups) > 1 else "") or special or "arm"


def draws(arm: Arm) -> list[list[Run]]:
    """Group the runs of an arm by their random numbers: those of one seed, one encoder and the same options repeat."""
    alike: dict[str, list[Run]] = {}
    for run in arm.runs:
        encoder = [run.encoder.sha256, run.encoder.seed, None if run.encoder.sha256 else run.encoder.path]
        alike.setdefault(frozen([deciding(run), run.seed, encoder]), []).append(run)
    return list(alike.values())


def labels(arms: Sequence[Arm]) -> dict[Path, str]:
    """Return a name for each run by its folder: that of the folder, or its path where several have that name."""
    runs = [run for arm in arms for run in arm.runs]
    times = Counter(run.name for run in runs)
    return {run.folder: run.name if times[run.name] == 1 else str(run.folder) for run in runs}
