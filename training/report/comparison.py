"""The values of a comparison: arms of runs, baselines, standings, contrasts, example images, and how all was made.

`training.report.compare` collects them from run folders, `training.report.page` shows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Protocol

from training.evaluation.results import Evaluation, SetInfo
from training.metrics.names import METRIC, PROTOCOL
from training.report.arms.run import Run
from training.report.gallery import Gallery
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


class Contender(Protocol):
    """An arm or a baseline: a row of a table."""

    @property
    def name(self) -> str:
        """Name of the row."""
        ...

    def mean(self, protocol: str) -> Values:
        """Return each metric under a protocol; empty without counted images."""
        ...

    def spread(self, protocol: str) -> Values:
        """Return the standard deviation of each metric over runs; empty for less than two."""
        ...

    def scenes(self, protocol: str) -> dict[str, Values]:
        """Return each metric by scene."""
        ...

    def counted(self, protocol: str) -> int:
        """Count the images under a protocol."""
        ...


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
        runs: Its runs, at least one.
        by_hand: Whether the user named it.
    """

    name: str
    runs: tuple[RunResult, ...]
    by_hand: bool = False

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

    def scenes(self, protocol: str) -> dict[str, Values]:
        """Average each metric over the runs, scene by scene."""
        found = [one.scenes(protocol) for one in self.evaluations]
        return {scene: _mean([one[scene] for one in found if scene in one]) for scene in found[0]}

    def counted(self, protocol: str) -> int:
        """Count the images under a protocol; the same for each run."""
        return self.evaluations[0].counted(protocol)

    def to_json(self, protocols: Sequence[str]) -> dict[str, Any]:
        """Return an element of `arms`."""
        hours = [one.run.device_hours for one in self.runs]
        return {
            "runs": [one.to_json() for one in self.runs],
            "metrics": {protocol: self.mean(protocol) for protocol in protocols},
            "spread": {protocol: self.spread(protocol) for protocol in protocols},
            "scenes": {protocol: self.scenes(protocol) for protocol in protocols},
            "device_hours": None if None in hours else sum(filter(None, hours)),
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
        train: The training set, in words.
        runs: Labels of the runs that were trained on it.
    """

    name: str
    kind: str
    detail: str
    evaluation: Evaluation
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
