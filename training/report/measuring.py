"""Evaluations of runs and baselines on the set of a comparison, kept in the run folders.

They are read from there as long as checkpoint, set, protocols and device are those they were made with.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding.errors import DataError, UsageError
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from sharding.stores.node_cache import CacheSettings
from training.baselines.fitted import Baselines, load_or_fit
from training.baselines.measured import evaluate_baselines
from training.baselines.names import CONSTANT, ROW
from training.evaluation.evaluate import Computing, evaluate_model, evaluation_file, load_predictor
from training.evaluation.results import Evaluation, load_matching
from training.finetuning.record import read_curves
from training.launch.devices import describe_device
from training.metrics.names import METRIC
from training.report.arms.grouping import Arm, labels
from training.report.arms.run import Run
from training.report.arms.sets import Part, find_set, trained_on
from training.report.comparison import BaselineResult, Epoch
from training.run_files import file_sha256
from training.runfolder import Which, find_checkpoint

CHECKPOINT: Which = "last"
"""Checkpoint that is compared: nothing was selected, whatever a run was monitored on."""

BASELINES_NAME = "baselines.json"  # in a run folder


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """The set that everything is measured on, and the device.

    Attributes:
        val: The set.
        computing: Device and loader processes.
    """

    val: ShardSet
    computing: Computing

    def run(self, run: Run, label: str) -> Evaluation:
        """Evaluate the last checkpoint of a run, or read its evaluation."""
        checkpoint = find_checkpoint(run.folder, CHECKPOINT)
        file = evaluation_file(run.folder, self.val, CHECKPOINT)
        kept = self._kept(file, file_sha256(checkpoint))
        if kept is not None:
            say(f"{label}: evaluation read from {file}")
            return kept
        named = load_predictor(checkpoint, f"{label}, {CHECKPOINT} checkpoint", self.computing.device)
        evaluation = evaluate_model(named, self.val, self.computing)
        evaluation.save(file)
        return evaluation

    def baselines(self, both: Baselines, keeper: Path) -> dict[str, Evaluation]:
        """Evaluate both baselines of a training set, or read their evaluations from a run folder."""
        files = {name: evaluation_file(keeper, self.val, name) for name in (CONSTANT, ROW)}
        kept = {name: self._kept(file, both.fingerprint) for name, file in files.items()}
        found = {name: one for name, one in kept.items() if one is not None}
        if len(found) == len(files):
            return found
        found = evaluate_baselines(both, self.val, self.computing.device)
        for name, file in files.items():
            found[name].save(file)
        return found

    def _kept(self, file: Path, fingerprint: str) -> Evaluation | None:
        return load_matching(file, fingerprint, self.val, describe_device(self.computing.device))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training set, and the runs that were trained on it.

    Attributes:
        part: The set.
        runs: The runs trained on it.
        samples: The opened set; None if it was not found.
        lack: Why it was not found; "" if it was.
    """

    part: Part
    runs: tuple[Run, ...]
    samples: ShardSet | None
    lack: str = ""

    def baselines(self) -> Baselines:
        """Fit the baselines, or read those that a run folder has.

        Raises:
            DataError: There is neither, or they are damaged.
            UsageError: The depth of the set is not in metres.
        """
        if self.samples is not None:
            return load_or_fit(self.samples, self.runs[0].folder / BASELINES_NAME)
        if (stored := next(self._stored(), None)) is None:
            raise DataError(self.lack)
        return stored

    def _stored(self) -> Iterator[Baselines]:
        for run in self.runs:
            if (file := run.folder / BASELINES_NAME).is_file():
                try:
                    found = Baselines.load(file)
                except DataError:  # of another version, or damaged
                    continue
                if (found.identity, found.where) == self.part.key:
                    yield found


def group_trained(
    arms: Sequence[Arm], cache: CacheSettings | None = None, val: ShardSet | None = None
) -> list[Trained]:
    """Group runs by their training sets, and open those that are found.

    Args:
        arms: The arms.
        cache: For sets behind a URL.
        val: What the runs are compared on: it may be of the very set that they were trained on, wherever that was.
    """
    groups: dict[tuple[str | None, str | None], list[Run]] = {}
    for run in (run for arm in arms for run in arm.runs):
        groups.setdefault(trained_on(run).key, []).append(run)
    return [_open(tuple(runs), cache, val) for runs in groups.values()]


def _open(runs: tuple[Run, ...], cache: CacheSettings | None, val: ShardSet | None) -> Trained:
    lack = ""
    for run in runs:  # any of them may know where the set is
        part = trained_on(run)
        try:
            samples = ShardSet(find_set(part, run), part.where, cache)
            return Trained(part=part, runs=runs, samples=samples)
        except (DataError, UsageError) as error:
            lack = lack or str(error)
    part = trained_on(runs[0])
    if val is not None and part.identity == val.manifest.identity:
        return Trained(part=part, runs=runs, samples=ShardSet(val.address, part.where, cache))
    return Trained(part=part, runs=runs, samples=None, lack=lack)


def measure_baselines(
    trained: Sequence[Trained], arms: Sequence[Arm], measuring: Measuring
) -> tuple[list[BaselineResult], list[str]]:
    """Evaluate the baselines of each training set.

    Returns:
        The baselines, and why some sets have none, in whole sentences.
    """
    called = labels(arms)
    results: list[BaselineResult] = []
    lacks = []
    for group in trained:
        whose = "" if len(trained) == 1 else f" for {_whose(group, arms, called)}"
        try:
            both = group.baselines()
            evaluations = measuring.baselines(both, group.runs[0].folder)
        except (DataError, UsageError) as error:  # the truth that they would be measured on may be up to scale, too
            lacks.append(f"There are no baselines{whose}: {error}.")
            continue
        for kind, evaluation in evaluations.items():
            results.append(
                BaselineResult(
                    name=kind + whose,
                    kind=kind,
                    detail=both.describe(kind, METRIC),
                    evaluation=evaluation,
                    predictor=both.by_name[kind][METRIC],
                    train=group.part.describe(),
                    runs=tuple(called[run.folder] for run in group.runs),
                )
            )
    return results, lacks


def _whose(group: Trained, arms: Sequence[Arm], called: dict[Path, str]) -> str:
    """Name the arms that were trained on a set; the runs, if some run of their arms was not."""
    own = {run.folder for run in group.runs}
    theirs = [arm for arm in arms if own & {run.folder for run in arm.runs}]
    whole = all({run.folder for run in arm.runs} <= own for arm in theirs)
    return ", ".join([arm.name for arm in theirs] if whole else [called[run.folder] for run in group.runs])


def find_baseline(results: Sequence[BaselineResult], label: str, kind: str) -> Evaluation | None:
    """Return the evaluation of a run's baseline; None if its training set has none."""
    return next((one.evaluation for one in results if one.kind == kind and label in one.runs), None)


def read_history(folder: Path) -> tuple[Epoch, ...]:
    """Read what a run logged epoch by epoch; values that are not finite are left out.

    Raises:
        DataError: The curves are missing or damaged.
    """
    return tuple(
        Epoch(
            epoch=int(row["epoch"]) + 1,  # from 0 in curves.csv
            train_loss=loss if math.isfinite(loss := row.get("train_loss", math.nan)) else None,
            val={name.removeprefix("val_"): value for name, value in row.items() if _is_metric(name, value)},
        )
        for row in read_curves(folder)
    )


def _is_metric(name: str, value: float) -> bool:
    return name.startswith("val_") and math.isfinite(value)
