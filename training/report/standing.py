"""The standing of each arm against each baseline: whether it beats it, in numbers and in sentences.

Exact values are compared, never rounded ones, and printed with as many digits as distinguish them. No significance is
claimed: an arm that was trained once is a single sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.evaluation.metric_names import METRIC, PROTOCOL, count, fixed
from training.evaluation.results import Evaluation

Relation = Literal["beats", "does not beat", "equals"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An arm against a baseline, by mean abs_rel under the headline protocol.

    Attributes:
        arm: Name of the arm.
        baseline: Name of the baseline.
        arm_value: abs_rel of the arm.
        baseline_value: abs_rel of the baseline.
        scenes_better: Scenes in which the arm's mean is strictly lower.
        num_scenes: Scenes that both were measured in.
        images_better: Images on which the arm is strictly lower.
        num_images: Images that both were measured on.
    """

    arm: str
    baseline: str
    arm_value: float
    baseline_value: float
    scenes_better: int
    num_scenes: int
    images_better: int
    num_images: int

    @property
    def relation(self) -> Relation:
        """Return "beats" if the arm's exact value is strictly lower, whatever the rounded values show."""
        if self.arm_value == self.baseline_value:
            return "equals"
        return "beats" if self.arm_value < self.baseline_value else "does not beat"

    def change(self) -> str:
        """Describe the arm's value relative to the baseline's, such as "31 % lower"."""
        return relative_change(self.arm_value, self.baseline_value)

    def sentence(self) -> str:
        """Describe the standing in a sentence, with numbers."""
        arm, baseline = distinct(self.arm_value, self.baseline_value)
        how = "the same" if self.relation == "equals" else self.change()
        return (
            f"{self.arm} {self.relation} the {self.baseline}: {METRIC} {arm} against {baseline} ({how}); it is lower "
            f"in {self.scenes_better} of {count(self.num_scenes, 'scene')} and on {self.images_better} of "
            f"{count(self.num_images, 'image')}"
        )


def compare_evaluations(arm: tuple[str, Evaluation], baseline: tuple[str, Evaluation]) -> Standing:
    """Compare an arm with a baseline, each given as (name, evaluation) on the same set."""
    # Only images that both evaluations counted.
    ours, theirs = arm[1].rows(PROTOCOL)[METRIC].align(baseline[1].rows(PROTOCOL)[METRIC], join="inner")
    our_scenes, their_scenes = arm[1].scenes(PROTOCOL), baseline[1].scenes(PROTOCOL)
    shared = our_scenes.keys() & their_scenes.keys()
    return Standing(
        arm=arm[0],
        baseline=baseline[0],
        arm_value=arm[1].mean(PROTOCOL)[METRIC],
        baseline_value=baseline[1].mean(PROTOCOL)[METRIC],
        scenes_better=sum(our_scenes[scene][METRIC] < their_scenes[scene][METRIC] for scene in shared),
        num_scenes=len(shared),
        images_better=int((ours < theirs).sum()),
        num_images=len(ours),
    )


def headline(standings: Sequence[Standing]) -> str:
    """Write a sentence: how many arms beat which baseline."""
    # Baselines beaten by the same number of arms share a clause: "all 3 arms beat the a and the b".
    by_baseline: dict[str, list[Standing]] = {}
    for standing in standings:
        by_baseline.setdefault(standing.baseline, []).append(standing)
    beaten: dict[str, list[str]] = {}  # clause of `_how_many` -> baselines
    for baseline, group in by_baseline.items():
        beaten.setdefault(_how_many(group), []).append(f"the {baseline}")
    text = ", and ".join(f"{arms} {' and '.join(baselines)}" for arms, baselines in beaten.items())
    return f"{text[0].upper()}{text[1:]} on {METRIC}."


def _how_many(group: Sequence[Standing]) -> str:
    beating = sum(standing.relation == "beats" for standing in group)
    if len(group) == 1:
        return f"the arm {group[0].relation}"
    if beating == len(group):
        return "both arms beat" if beating == 2 else f"all {beating} arms beat"
    if beating == 0:
        return f"none of the {len(group)} arms beats"
    return f"{beating} of {len(group)} arms {'beats' if beating == 1 else 'beat'}"


def ranking(arms: Sequence[tuple[str, float]]) -> str:
    """Write a sentence that lists the arms from the lowest abs_rel up; empty for a single arm."""
    if len(arms) < 2:
        return ""
    ordered = sorted(arms, key=lambda arm: arm[1])
    lowest, second = distinct(ordered[0][1], ordered[1][1])
    rest = [f"{name} ({fixed(value)})" for name, value in ordered[2:]]
    if ordered[0][1] == ordered[1][1]:
        return f"{ordered[0][0]} and {ordered[1][0]} share the lowest {METRIC} ({lowest})."
    return (
        f"Among the arms {ordered[0][0]} has the lowest {METRIC} ({lowest}), then "
        + ", ".join([f"{ordered[1][0]} ({second})", *rest])
        + "."
    )


def caution(seeds: Sequence[object], num_images: int, num_scenes: int) -> str:
    """State what the numbers do not show: one seed per arm and few scenes prove no difference.

    Args:
        seeds: Seed of each arm.
        num_images: Number of images evaluated.
        num_scenes: Number of scenes they come from.
    """
    drawn = f"seed {seeds[0]}" if len(set(seeds)) == 1 else "seeds " + ", ".join(map(str, seeds))
    return (
        f"Each arm was trained once ({drawn}), and one seed is one draw: another would give other numbers, so a "
        "difference between two arms cannot be attributed to their options. The "
        f"{count(num_images, 'image')} come from {count(num_scenes, 'scene')}, and images of a scene are alike. "
        "No significance is claimed; that would take at least three seeds per arm."
    )


def distinct(first: float, second: float, digits: int = 3) -> tuple[str, str]:
    """Format two values with the fewest decimals, at least `digits`, at which unequal values print differently."""
    while fixed(first, digits) == fixed(second, digits) and first != second:
        digits += 1
    return fixed(first, digits), fixed(second, digits)


def relative_change(value: float, reference: float) -> str:
    """Describe `value` relative to `reference`: such as "31 % lower", "0.4 % higher" or "less than 0.1 % lower"."""
    if value == reference:
        return "the same"
    percent = abs(value / reference - 1) * 100 if reference else float("inf")
    # The limits are where one decimal would round to 10.0 % and to 0.1 %.
    size = f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %" if percent >= 0.05 else "less than 0.1 %"
    return f"{size} {'lower' if value < reference else 'higher'}"
