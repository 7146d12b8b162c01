"""`depthstream compare`: evaluate the arms and the baselines on one set, compare them, and write the report.

Evaluations and baselines are stored in the run folders, and read from there as long as checkpoint, set and protocols
are those they were made with. Arms that were validated on different sets are refused.
"""

import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sharding.cli import Outcome
from sharding.machine.files import write_through_links
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.config import CompareConfig, cache_settings
from training.evaluation.baseline_metrics import evaluate_baselines
from training.evaluation.baselines import ROW, Baselines, load_or_fit
from training.evaluation.evaluate import (
    Computing,
    NamedPredictor,
    evaluate_model,
    evaluation_file,
    file_sha256,
    load_predictor,
)
from training.evaluation.metric_names import METRIC
from training.evaluation.results import Evaluation, SetInfo, load_matching
from training.launch.devices import describe_device
from training.model.inference import predict_image
from training.report.arms import RunFolder, TrainedOn, find_warnings, open_trained, open_val, read_run
from training.report.check import check_names
from training.report.comparison import Arm, BaselineResult, Comparison, Gallery
from training.report.examples import Shown, build_gallery, choose_examples
from training.report.page import render_report
from training.report.standing import compare_evaluations
from training.runfolder import Which, find_checkpoint

CHECKPOINT: Which = "last"
"""Checkpoint that is compared; not the best one, which was selected on the very images it would be evaluated on."""

BASELINES_NAME = "baselines.json"  # in a run folder
REPORT_PACKAGES = ("depthstream", "torch", "torchvision", "pytorch-lightning", "fastai", "numpy")


def run(config: CompareConfig) -> Outcome:
    """Compare the runs and write the report."""
    comparison = collect(config)
    write_through_links(config.out, render_report(comparison).encode())
    return Outcome(
        data=comparison.to_json() | {"report": config.out},
        text="\n".join([*comparison.verdict(), "", f"report: {config.out}"]),
    )


def collect(config: CompareConfig) -> Comparison:
    """Read the runs, evaluate what is not evaluated yet, and compare.

    Raises:
        DataError: A run folder is incomplete, or a set is missing.
        UsageError: Two runs have the same name, or the runs were validated on different sets.
    """
    runs = [read_run(folder) for folder in config.runs]
    check_names([one.name for one in runs])
    cache = cache_settings(config)
    val, trained = open_val(runs, cache), open_trained(runs, cache)
    measuring = Measuring(val=val, computing=Computing.choose(config.accelerator, config.num_workers))
    # By run and then by group, so that the arms stay in the order given.
    arms = tuple(measure_arm(one, group, measuring) for one in runs for group in trained if one in group.runs)
    fitted = [load_or_fit(group.samples, _keeper(group) / BASELINES_NAME) for group in trained]
    baselines = tuple(
        result
        for group, both in zip(trained, fitted, strict=True)
        for result in measure_baselines(group, both, measuring, "" if len(trained) == 1 else _whose(group))
    )
    return Comparison(
        arms=arms,
        baselines=baselines,
        standings=tuple(
            compare_evaluations((arm.name, arm.evaluation), (result.name, result.evaluation))
            for arm in arms
            for result in baselines
            if result.train.key == arm.train.key
        ),
        warnings=tuple(find_warnings(trained, val)),
        val=SetInfo.of(val),
        gallery=make_gallery(arms, [result for result in baselines if result.kind == ROW], fitted, measuring),
        command=shlex.join(["depthstream", "compare", *config.runs, "--out", config.out]),
        versions=find_versions(),
    )


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """The set that everything is measured on, and the device.

    Attributes:
        val: Validation set of all arms.
        computing: Device and loader processes.
    """

    val: ShardSet
    computing: Computing

    def measure(self, file: Path, fingerprint: str, load: Callable[[], NamedPredictor]) -> Evaluation:
        """Read an evaluation from its file if that still matches; otherwise load the predictor, evaluate and store it.

        Args:
            file: File of the evaluation; may be missing.
            fingerprint: Fingerprint of the predictor.
            load: Loads the predictor; not called on a cache hit.
        """
        kept = load_matching(file, fingerprint, self.val, describe_device(self.computing.device))
        if kept is not None:
            say(f"{kept.predictor}: evaluation read from {file}")
            return kept
        evaluation = evaluate_model(load(), self.val, self.computing)
        evaluation.save(file)
        return evaluation


def _keeper(group: TrainedOn) -> Path:
    """Return the run folder that stores the baselines of a training set: that of its first run."""
    return group.runs[0].folder


def _whose(group: TrainedOn) -> str:
    return f" for {', '.join(one.name for one in group.runs)}"


def measure_arm(one: RunFolder, group: TrainedOn, measuring: Measuring) -> Arm:
    """Evaluate the last checkpoint of a run."""
    file = find_checkpoint(one.folder, CHECKPOINT)
    evaluation = measuring.measure(
        evaluation_file(one.folder, measuring.val, CHECKPOINT),
        file_sha256(file),
        lambda: load_predictor(file, f"{one.name}, {CHECKPOINT} checkpoint", measuring.computing.device),
    )
    return Arm(
        name=one.name,
        folder=one.folder,
        config=one.config,
        history=one.history,
        evaluation=evaluation,
        train=SetInfo.of(group.samples),
    )


def measure_baselines(group: TrainedOn, both: Baselines, measuring: Measuring, whose: str) -> list[BaselineResult]:
    """Evaluate both baselines of a training set.

    Args:
        group: The training set.
        both: The baselines fitted on it.
        measuring: Set and device to evaluate on.
        whose: Suffix of their names that distinguishes them from the baselines of other training sets.
    """
    val, device = measuring.val, measuring.computing.device
    files = {name: evaluation_file(_keeper(group), val, name) for name in both.by_name}
    kept = {name: load_matching(file, both.fingerprint, val, describe_device(device)) for name, file in files.items()}
    if None in kept.values():
        kept |= evaluate_baselines(both, val, device)
        for name, file in files.items():
            if (made := kept[name]) is not None:
                made.save(file)
    return [
        BaselineResult(
            name=name + whose,
            kind=name,
            detail=both.describe(name, METRIC),
            evaluation=evaluation,
            train=SetInfo.of(group.samples),
        )
        for name, evaluation in kept.items()
        if evaluation is not None
    ]


def make_gallery(
    arms: Sequence[Arm], rows: Sequence[BaselineResult], fitted: Sequence[Baselines], measuring: Measuring
) -> Gallery:
    """Predict and paint the example images.

    Args:
        arms: All arms.
        rows: The row baseline of each training set.
        fitted: The baselines of each training set, in the same order.
        measuring: Set and device to predict on.
    """
    val, device = measuring.val, measuring.computing.device
    choices = choose_examples([arm.evaluation for arm in arms])
    place = {key: row for row, key in enumerate(val.index["key"])}  # row of each key
    found = val.read([place[choice.key] for choice in choices])
    samples = {sample.key: sample for sample in found}

    def show(name: str, evaluation: Evaluation, named: NamedPredictor) -> Shown:
        depths = {key: predict_image(named.predictor, sample.image, device) for key, sample in samples.items()}
        return Shown(name=name, evaluation=evaluation, depths=depths)

    shown = []
    for arm in arms:  # one network in memory at a time
        shown.append(
            show(arm.name, arm.evaluation, load_predictor(find_checkpoint(arm.folder, CHECKPOINT), arm.name, device))
        )
    for result, both in zip(rows, fitted, strict=True):
        shown.append(
            show(
                result.name,
                result.evaluation,
                NamedPredictor(predictor=both.row[METRIC], name=result.name, fingerprint=""),
            )
        )
    return build_gallery(choices, samples, shown)


def find_versions() -> dict[str, str]:
    """Find the installed versions of the packages that compute the numbers."""
    found = {"python": platform.python_version()}
    for name in REPORT_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "(not installed as a package)"
    return found
