"""The standing of each arm against each baseline: whether the mean of its runs beats it, and how many of its runs do.

Exact values are compared, never rounded ones, and printed with as many digits as distinguish them.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from training.evaluation.results import Evaluation
from training.metrics.names import METRIC, PROTOCOL, count, fixed
from training.report.verdict import percent

Relation = Literal["beats", "does not beat", "equals"]


@dataclass(frozen=True, kw_only=True)
class SceneStanding:
    """An arm against a baseline in one scene.

    Attributes:
        arm_value: Deciding metric of the arm, mean over its runs.
        baseline_value: That of the baseline.
        runs_better: Runs that are strictly lower than the baseline.
    """

    arm_value: float
    baseline_value: float
    runs_better: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An arm against a baseline, by the deciding metric.

    Attributes:
        arm: Name of the arm.
        baseline: Kind of the baseline.
        arm_value: Value of the arm: the mean over its runs.
        baseline_value: Value of the baseline; the mean of those of its runs if they had several training sets.
        runs_better: Runs that are strictly lower than the baseline of their training set.
        num_runs: Runs of the arm.
        scenes: By scene.
    """

    arm: str
    baseline: str
    arm_value: float
    baseline_value: float
    runs_better: int
    num_runs: int
    scenes: dict[str, SceneStanding]

    @property
    def relation(self) -> Relation:
        """Return "beats" if the arm's exact value is strictly lower, whatever the rounded values show."""
        if self.arm_value == self.baseline_value:
            return "equals"
        return "beats" if self.arm_value < self.baseline_value else "does not beat"

    @property
    def scenes_better(self) -> int:
        """Count the scenes in which the mean of the runs is strictly lower."""
        return sum(scene.arm_value < scene.baseline_value for scene in self.scenes.values())

    def change(self) -> str:
        """Describe the arm's value relative to the baseline's, such as "31 % lower"."""
        return relative_change(self.arm_value, self.baseline_value)

    def where(self) -> str:
        """Say in how many runs and scenes the arm is lower."""
        return f"{self.runs_better} of {count(self.num_runs, 'run')} and in {self.scenes_better} of " + count(
            len(self.scenes), "scene"
        )

    def sentence(self) -> str:
        """Describe the standing in a sentence, with numbers."""
        arm, baseline = distinct_texts(self.arm_value, self.baseline_value)
        how = "the same" if self.relation == "equals" else self.change()
        return (
            f"{self.arm} {self.relation} the {self.baseline} baseline: {METRIC} {arm} against {baseline} ({how}); it "
            f"is lower in {self.where()}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return an element of `standings`."""
        return dataclasses.asdict(self) | {"relation": self.relation, "scenes_better": self.scenes_better}


def compare_runs(
    arm: str, baseline: str, runs: Sequence[tuple[Evaluation, Evaluation]], protocol: str = PROTOCOL
) -> Standing:
    """Compare the runs of an arm, each with the baseline of its training set.

    Args:
        arm: Name of the arm.
        baseline: Kind of the baseline.
        runs: Evaluations of each run and of its baseline, all on one set.
        protocol: Protocol of the values.
    """
    means = [(own.mean(protocol)[METRIC], other.mean(protocol)[METRIC]) for own, other in runs]
    by_scene = [(own.scenes(protocol), other.scenes(protocol)) for own, other in runs]
    shared = [scene for scene in by_scene[0][0] if all(scene in own and scene in other for own, other in by_scene)]
    scenes = {
        scene: _scene([(own[scene][METRIC], other[scene][METRIC]) for own, other in by_scene]) for scene in shared
    }
    return Standing(arm=arm, baseline=baseline, num_runs=len(runs), scenes=scenes, **dataclasses.asdict(_scene(means)))


def _scene(pairs: Sequence[tuple[float, float]]) -> SceneStanding:
    return SceneStanding(
        arm_value=fmean(own for own, _ in pairs),
        baseline_value=fmean(other for _, other in pairs),
        runs_better=sum(own < other for own, other in pairs),
    )


def distinct_texts(first: float, second: float, digits: int = 3) -> tuple[str, str]:
    """Format two values with the fewest decimals, at least `digits`, at which unequal values print differently."""
    while fixed(first, digits) == fixed(second, digits) and first != second:
        digits += 1
    return fixed(first, digits), fixed(second, digits)


def relative_change(value: float, reference: float) -> str:
    """Describe `value` relative to `reference`: such as "31 % lower", "0.4 % higher" or "less than 0.1 % lower"."""
    if value == reference:
        return "the same"
    share = abs(value / reference - 1) if reference else float("inf")
    return f"{percent(share)} {'lower' if value < reference else 'higher'}"
