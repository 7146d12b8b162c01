"""The values of a comparison: arms of runs, baselines, standings, contrasts, example images, and how all was made.

`training.report.compare` collects them from run folders, `training.report.page` shows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from training.baselines.fitted import RowBaseline
from training.evaluation.results import Evaluation, SetInfo
from training.metrics.names import METRIC, PROTOCOL
from training.report.arms.run import Run
from training.report.gallery import Gallery
from training.report.judging import log_pair, scene_means
from training.report.standing import Standing
from training.report.verdict import Contrast, headline

Values = dict[str, float]
"""Metric -> value; `images` is the number of images in the mean of a scene."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Values logged for an epoch of training.

    Attributes:
        epoch: From 1.
        train_loss: Mean training loss; None if it was not logged.
        val: Validation metrics under the headline protocol, by name; finite.
    """

    epoch: int
    train_loss: float | None
    val: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run, evaluated.

    Attributes:
        label: Name of its folder, or its path where several have that name.
        run: The run.
        history: Its epochs in order.
        evaluation: Evaluation of its last checkpoint.
    """

    label: str
    run: Run
    history: tuple[Epoch, ...]
    evaluation: Evaluation

    @property
    def values(self) -> bytes:
        """Return every value of every image, which only a copy of the run has in common with it."""
        return self.evaluation.table.select_dtypes("number").to_numpy().tobytes()

    def to_json(self) -> dict[str, Any]:
        """Return an element of `arms.NAME.runs`."""
        facts = self.run.facts
        return {
            "folder": str(self.run.folder),
            "name": self.label,
            "seed": self.run.seed,
            "epochs": facts.epochs,
            "seconds": facts.seconds,
            "devices": facts.split.world,
            "device": facts.device,
            "device_hours": self.run.device_hours,
            **self.evaluation.summary(),
        }


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """An arm: the mean of its runs, each weighing the same.

    Attributes:
        name: Its name.
        runs: Its runs, at least one; each a draw of its own.
        repeats: Labels of the runs that repeat one of these, and count nowhere.
    """

    name: str
    runs: tuple[RunResult, ...]
    repeats: tuple[str, ...] = ()

    @property
    def evaluations(self) -> list[Evaluation]:
        """Return the evaluations of its runs."""
        return [one.evaluation for one in self.runs]

    def mean(self, protocol: str) -> Values:
        """Average each metric over the runs."""
        return _mean([one.mean(protocol) for one in self.evaluations])

    def spread(self, protocol: str) -> Values:
        """Return the standard deviation of each metric over the runs; empty for a single run."""
        found = [one.mean(protocol) for one in self.evaluations]
        if len(found) < 2:
            return {}
        return {metric: stdev([one[metric] for one in found]) for metric in found[0]}

    def seed_spread(self, protocol: str) -> float | None:
        """Return the standard deviation over runs of the mean log of the deciding metric by scene; None for one run.

        It is relative: 0.04 is 4 %.
        """
        if len(self.runs) < 2:
            return None
        logs, _ = log_pair([scene_means(one) for one in self.evaluations], [], METRIC, protocol)
        return float(logs.mean(axis=1).std(ddof=1))

    @property
    def device_hours(self) -> float | None:
        """Return the device hours of all runs; None if that of one was not recorded."""
        hours = [one.run.device_hours for one in self.runs]
        return None if None in hours else sum(filter(None, hours))

    def scenes(self, protocol: str) -> dict[str, Values]:
        """Average each metric over the runs, scene by scene."""
        found = [one.scenes(protocol) for one in self.evaluations]
        return {scene: _mean([one[scene] for one in found if scene in one]) for scene in found[0]}

    def counted(self, protocol: str) -> int:
        """Count the images under a protocol; the same for each run."""
        return self.evaluations[0].counted(protocol)

    def to_json(self, protocols: Sequence[str]) -> dict[str, Any]:
        """Return an element of `arms`; the first of the protocols decides."""
        return {
            "runs": [one.to_json() for one in self.runs],
            "repeats": list(self.repeats),
            "metrics": {protocol: self.mean(protocol) for protocol in protocols},
            "spread": {protocol: self.spread(protocol) for protocol in protocols},
            "seed_spread": self.seed_spread(protocols[0]),
            "scenes": {protocol: self.scenes(protocol) for protocol in protocols},
            "device_hours": self.device_hours,
        }


def _mean(found: Sequence[Values]) -> Values:
    return {metric: fmean([one[metric] for one in found]) for metric in found[0]}


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """A baseline of a training set, evaluated.

    Attributes:
        name: "constant" or "row", with the names of its arms or runs if there are several training sets.
        kind: "constant" or "row".
        detail: What it predicts, with numbers.
        evaluation: Its evaluation: the value of each metric is that of the predictor fitted for it.
        predictor: The one fitted for the deciding metric.
        train: The training set, in words.
        runs: Labels of the runs that were trained on it.
    """

    name: str
    kind: str
    detail: str
    evaluation: Evaluation
    predictor: RowBaseline
    train: str
    runs: tuple[str, ...]

    def mean(self, protocol: str) -> Values:
        """Return the means of its evaluation."""
        return self.evaluation.mean(protocol)

    def spread(self, protocol: str) -> Values:
        """Return nothing: it is not drawn."""
        return {}

    def scenes(self, protocol: str) -> dict[str, Values]:
        """Return the means of its evaluation by scene."""
        return self.evaluation.scenes(protocol)

    def counted(self, protocol: str) -> int:
        """Count the images of its evaluation."""
        return self.evaluation.counted(protocol)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All values that a report shows.

    Attributes:
        arms: In the order given.
        baselines: Two for each training set that could be read.
        standings: Each arm against the baselines of its training sets.
        contrasts: Pairs of arms.
        factors: What the arms differ in, in clauses.
        differing: The options in which they differ.
        warnings: What limits the comparison, in whole sentences.
        val: The set that all were evaluated on.
        note: What the set was to the runs while they trained, in a sentence.
        margin: Relative difference that does not matter.
        named: Whether the contrasts were named beforehand.
        gallery: Example images.
        command: The command that makes this report again.
        versions: Version by name, of the software that was used.
        protocol: Protocol under which the deciding metric decides.
    """

    arms: tuple[ArmResult, ...]
    baselines: tuple[BaselineResult, ...]
    standings: tuple[Standing, ...]
    contrasts: tuple[Contrast, ...]
    factors: tuple[str, ...]
    differing: tuple[str, ...]
    warnings: tuple[str, ...]
    val: SetInfo
    note: str
    margin: float
    named: bool
    gallery: Gallery
    command: str
    versions: dict[str, str]
    protocol: str = PROTOCOL

    def contenders(self) -> Iterator[ArmResult | BaselineResult]:
        """Yield every arm, then every baseline."""
        yield from self.arms
        yield from self.baselines

    @property
    def protocols(self) -> list[str]:
        """Return the protocols that all runs have values under, the deciding one first."""
        evaluations = [one for arm in self.arms for one in arm.evaluations]
        shared = [name for name in evaluations[0].protocols if all(one.counted(name) for one in evaluations)]
        return sorted(shared, key=lambda name: name != self.protocol)

    def verdict(self) -> list[str]:
        """Return the result in whole sentences: contrasts, what the arms differ in, standings, warnings."""
        sentences = [headline(self.contrasts), *(text for one in self.contrasts for text in one.sentences())]
        if self.factors:
            sentences.append(f"The arms differ in: {', '.join(self.factors)}.")
        sentences += [standing.sentence() + "." for standing in self.standings]
        return [*sentences, self.note, *self.warnings]

    def to_json(self) -> dict[str, Any]:
        """Return the object of `depthstream compare --json`."""
        return {
            "val": asdict(self.val),
            "metric": METRIC,
            "protocol": self.protocol,
            "margin": self.margin,
            "arms": {arm.name: arm.to_json(self.protocols) for arm in self.arms},
            "contrasts": [one.to_json() for one in self.contrasts],
            "named_beforehand": self.named,
            "factors": list(self.factors),
            "baselines": {
                result.name: {
                    "kind": result.kind,
                    "detail": result.detail,
                    "train": result.train,
                    "runs": list(result.runs),
                    **result.evaluation.summary(),
                }
                for result in self.baselines
            },
            "standings": [standing.to_json() for standing in self.standings],
            "note": self.note,
            "warnings": list(self.warnings),
            "verdict": self.verdict(),
        }
