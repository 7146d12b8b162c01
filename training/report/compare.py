"""`depthstream compare`: evaluate runs and baselines on one set, compare the arms, and write the report."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from sharding.cli import Outcome
from sharding.machine.files import write_through_links
from sharding.options import checked
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import shown
from training.baselines.names import CONSTANT, ROW
from training.config import CompareConfig
from training.evaluation.evaluate import Computing
from training.evaluation.results import SetInfo
from training.finetuning.trace import PACKAGES
from training.metrics.names import PROTOCOL
from training.metrics.protocols import MEDIAN_SCALED
from training.report.arms.differences import find_factors
from training.report.arms.grouping import Arm, draws, labels, read_arms
from training.report.arms.pairs import choose_pairs
from training.report.arms.target import Target, choose_target
from training.report.arms.warnings import find_warnings
from training.report.comparison import ArmResult, BaselineResult, Comparison, RunResult
from training.report.examples import make_gallery
from training.report.judging import find_unguarded, judge
from training.report.measuring import (
    Measuring,
    find_baseline,
    group_trained,
    measure_baselines,
    read_history,
)
from training.report.page import render_report
from training.report.seen import OPTIMISTIC, describe_monitored, find_seen
from training.report.standing import Standing, compare_runs
from training.run_files import find_versions
from training.set_options import cache_settings


def run(config: CompareConfig) -> Outcome:
    """Compare the runs and write the report."""
    comparison = collect(checked(config))
    write_through_links(config.out, render_report(comparison).encode())
    return Outcome(
        data=comparison.to_json() | {"report": config.out},
        text="\n".join([*comparison.verdict(), "", f"report: {config.out}"]),
    )


def collect(config: CompareConfig) -> Comparison:
    """Read the runs, evaluate what is not evaluated yet, and compare.

    Raises:
        DataError: A run folder is incomplete, or the set to compare on is missing.
        UsageError: Arms or contrasts are named wrongly, or the runs were validated on different sets.
    """
    arms = read_arms(config.runs, config.arm)
    pairs = choose_pairs(config.contrasts, [arm.name for arm in arms])
    target = choose_target(arms, config.val, config.where)
    cache = cache_settings(config)
    val = ShardSet(target.address, target.where, cache)
    trained = group_trained(arms, cache, val)
    measuring = Measuring(val=val, computing=Computing.choose(config.accelerator, config.num_workers))
    results = tuple(measure_arm(arm, labels(arms), measuring) for arm in arms)
    baselines, lacks = measure_baselines(trained, arms, measuring)
    protocol = _protocol(results)
    contrasts = judge({arm.name: arm.evaluations for arm in results}, pairs, config.margin, protocol)
    by_name, factors = {arm.name: arm for arm in arms}, find_factors([arm.runs for arm in arms])
    return Comparison(
        arms=results,
        baselines=tuple(baselines),
        standings=tuple(find_standings(results, baselines, protocol)),
        contrasts=tuple(replace(one, factors=_factors([by_name[one.a], by_name[one.b]])) for one in contrasts),
        factors=_factors(arms),
        differing=tuple(option for factor in factors for option in factor.options),
        warnings=(
            *find_warnings(arms),
            *_copies(arms, results),
            *_shared(results),
            *find_seen(arms, trained, val),
            *find_unguarded(contrasts, protocol),
            *lacks,
        ),
        val=SetInfo.of(val),
        note=_note(target, config, arms, val),
        margin=config.margin,
        named=config.contrasts is not None,
        gallery=make_gallery(results, baselines, measuring, protocol),
        command=_command(config),
        versions=find_versions((*PACKAGES, "scipy")),
        protocol=protocol,
    )


def measure_arm(arm: Arm, called: Mapping[Path, str], measuring: Measuring) -> ArmResult:
    """Evaluate the runs of an arm; of those that repeat another, the first alone counts."""
    found: dict[bytes, RunResult] = {}
    for first, *_ in draws(arm):
        one = RunResult(
            label=called[first.folder],
            run=first,
            history=read_history(first.folder),
            evaluation=measuring.run(first, called[first.folder]),
        )
        found.setdefault(one.values, one)
    kept = {one.run.folder for one in found.values()}
    repeats = tuple(called[run.folder] for run in arm.runs if run.folder not in kept)
    return ArmResult(name=arm.name, runs=tuple(found.values()), repeats=repeats)


def _protocol(arms: Sequence[ArmResult]) -> str:
    """Return the protocol that decides: the headline, unless some run predicts depth up to scale."""
    found = {one.primary for arm in arms for one in arm.evaluations}
    return PROTOCOL if found == {PROTOCOL} else MEDIAN_SCALED.name


def find_standings(arms: Sequence[ArmResult], baselines: Sequence[BaselineResult], protocol: str) -> Iterator[Standing]:
    """Compare each arm with both baselines, each run with those of its own training set."""
    for arm in arms:
        for kind in (CONSTANT, ROW):
            pairs = [(one.evaluation, find_baseline(baselines, one.label, kind)) for one in arm.runs]
            known = [(own, baseline) for own, baseline in pairs if baseline is not None]
            if len(known) == len(pairs):
                yield compare_runs(arm.name, kind, known, protocol)


def _factors(arms: Sequence[Arm]) -> tuple[str, ...]:
    names = [arm.name for arm in arms]
    return tuple(factor.clause(names) for factor in find_factors([arm.runs for arm in arms]))


def _copies(arms: Sequence[Arm], results: Sequence[ArmResult]) -> Iterator[str]:
    """Warn of runs of several seeds that predict the same."""
    for arm, result in zip(arms, results, strict=True):
        if (number := len(result.runs)) < (given := len(draws(arm))):
            yield (
                f"Only {number} of the {given} runs of {arm.name} predict something of their own: the others repeat "
                "them to the last digit, and count nowhere."
            )


def _shared(arms: Sequence[ArmResult]) -> Iterator[str]:
    """Warn of a run that is in two arms, as a copy under another name."""
    for one, other in combinations(arms, 2):
        pairs = [(a.label, b.label) for a in one.runs for b in other.runs if a.values == b.values]
        if pairs:
            listed = ", ".join(f"{a} and {b}" for a, b in pairs)
            yield f"{one.name} and {other.name} share runs, which predict the same to the last digit: {listed}."


def _note(target: Target, config: CompareConfig, arms: Sequence[Arm], val: ShardSet) -> str:
    """Say what the set was to the runs while they trained."""
    last = "The last checkpoint of each run is compared, whatever a validation would have chosen"
    if target.untouched:
        return f"{last}, on the set that the runs have as --val, which none of them opened while it trained."
    if config.val is None and config.where is None:
        if target.held_out:
            return f"{last}. The scenes were held out of training and monitored on: {OPTIMISTIC}."
        return f"{last}, on the set that the runs were validated on: {OPTIMISTIC}."
    place = "the set given by --val"
    if config.val is None:
        whose = "they held scenes out of" if target.held_out else "they were validated on"
        place = f"what --where selects of the set that {whose}"
    return " ".join(filter(None, [f"{last}, on {place}.", describe_monitored(arms, val)]))


def _command(config: CompareConfig) -> str:
    """Write the command that makes the report again."""
    words = ["depthstream", "compare", *config.runs]
    words += [word for arm in config.arm for word in ("--arm", arm)]
    given = {
        "--contrasts": config.contrasts,
        "--margin": None if config.margin == CompareConfig.margin else f"{config.margin:g}",
        "--val": None if config.val is None else shown(config.val),
        "--where": config.where,
    }
    words += [word for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join([*words, "--out", config.out])
