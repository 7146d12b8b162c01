"""What limits a comparison, in whole sentences: other budgets or sets, unfinished runs, seeds that are no new draws."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from training.metrics.names import count
from training.report.arms.differences import LABELS, find_factors, join_values
from training.report.arms.grouping import Arm, draws, labels
from training.report.arms.identity import deciding, frozen
from training.report.arms.run import Run


def find_warnings(arms: Sequence[Arm]) -> list[str]:
    """Find what limits the comparison of arms, as far as their run folders tell."""
    called = labels(arms)
    found = [*_budgets(arms), *_recorded(arms), *_unfinished(arms, called)]
    for arm in arms:
        found += [*_mixed(arm), *_repeats(arm, called), *_held_out(arm), *_one_encoder(arm)]
    return found


def _budgets(arms: Sequence[Arm]) -> Iterator[str]:
    """Name factors that are usually the same: a difference between arms may be due to them."""
    names = [arm.name for arm in arms]
    for factor in find_factors([arm.runs for arm in arms]):
        if factor.option in LABELS:
            yield f"The arms differ in {factor.name}: {join_values(factor.values, names)}."


def _recorded(arms: Sequence[Arm]) -> Iterator[str]:
    """Name what was recorded of the runs and differs: versions of software, micro-batches."""
    runs = [run for arm in arms for run in arm.runs]
    packages = dict.fromkeys(name for run in runs for name in run.facts.versions)
    facts: dict[str, Callable[[Run], str | None]] = {
        f"version of {package}": (lambda run, package=package: run.facts.version(package))  # type: ignore[misc]
        for package in packages
    }
    facts |= {
        "revision of this program": lambda run: run.facts.revisions,
        "micro-batch, of which BatchNorm takes its statistics": lambda run: (
            None if run.facts.split.micro_batch is None else str(run.facts.split.micro_batch)
        ),
    }
    for name, get in facts.items():
        # What a run did not record is not known to differ.
        known = [{value for run in arm.runs if (value := get(run)) is not None} for arm in arms]
        if len(set().union(*known)) > 1:
            values = [" and ".join(sorted(found)) or "not recorded" for found in known]
            yield f"The runs differ in the {name}: {_by_arm(values, [arm.name for arm in arms])}."


def _by_arm(values: Sequence[str], names: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else join_values(values, names)


def _unfinished(arms: Sequence[Arm], called: dict[Path, str]) -> Iterator[str]:
    for run in (run for arm in arms for run in arm.runs):
        if run.facts.epochs < run.epochs:
            ended = "ended early" if run.facts.finished else "has not finished"
            yield f"{called[run.folder]} {ended}: {run.facts.epochs} of {count(run.epochs, 'epoch')} are done."


def _mixed(arm: Arm) -> Iterator[str]:
    """Warn of runs that were named as one arm and differ in more than their seed."""
    factors = find_factors([[run] for run in arm.runs]) if arm.by_hand else []
    if factors:
        clauses = ", ".join(factor.clause([run.name for run in arm.runs]) for factor in factors)
        yield f"The runs of {arm.name} differ in more than their seed: {clauses}; so their spread is not that of seeds."


def _repeats(arm: Arm, called: dict[Path, str]) -> Iterator[str]:
    """Warn of runs with one seed and one encoder: all their random numbers are the same."""
    for runs in draws(arm):
        if len(runs) > 1:
            names = ", ".join(called[run.folder] for run in runs)
            yield (
                f"{names} of {arm.name} have the same options and seed {runs[0].seed}: repeats, no new draws; the "
                "first alone counts."
            )


def _held_out(arm: Arm) -> Iterator[str]:
    """Warn of runs that held out other scenes, as a number of them drawn by seed does."""
    scenes = [" ".join(sorted(run.facts.train.holdout or [])) for run in arm.runs]
    options = {frozen(deciding(run)["holdout_scenes"]) for run in arm.runs}
    if len(options) == 1 and len(set(scenes)) > 1:  # other options are a factor, and told as such
        yield (
            f"The runs of {arm.name} held out different scenes "
            f"({join_values(scenes, [run.name for run in arm.runs])}): "
            "they were trained on different scenes, and their spread is not that of seeds alone."
        )


def _one_encoder(arm: Arm) -> Iterator[str]:
    """Warn of seeds that all begin with one pretrained encoder."""
    used = {run.encoder.sha256 for run in arm.runs}
    if len(arm.runs) > 1 and len(used) == 1 and None not in used:
        yield (
            f"All runs of {arm.name} begin with the same encoder: their spread does not contain that of pretraining."
        )
