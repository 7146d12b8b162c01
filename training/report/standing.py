"""The judgement of a comparison: how each arm stands to each baseline, in numbers and in plain words.

Judges exact values, never rounded ones, and prints as many digits as it takes to tell two values apart. Claims no
significance: an arm that was trained once is one draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.evaluation.metric_names import METRIC, PROTOCOL, count, fixed
from training.evaluation.results import Evaluation

Relation = Literal["beats", "does not beat", "equals"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an arm stands to a baseline, by mean abs_rel under the headline protocol.

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
        """`beats` if the arm's value is strictly lower, whatever rounding would show."""
        if self.arm_value == self.baseline_value:
            return "equals"
        return "beats" if self.arm_value < self.baseline_value else "does not beat"

    def change(self) -> str:
        """The arm's value relative to the baseline's, such as "31 % lower"."""
        return relative_change(self.arm_value, self.baseline_value)

    def sentence(self) -> str:
        """The standing in plain words, with numbers."""
        arm, baseline = distinct(self.arm_value, self.baseline_value)
        how = "the same" if self.relation == "equals" else self.change()
        return (
            f"{self.arm} {self.relation} the {self.baseline}: {METRIC} {arm} against {baseline} ({how}); it is lower "
            f"in {self.scenes_better} of {count(self.num_scenes, 'scene')} and on {self.images_better} of "
            f"{count(self.num_images, 'image')}"
        )


def compare_evaluations(arm: tuple[str, Evaluation], baseline: tuple[str, Evaluation]) -> Standing:
    """Set an arm against a baseline, each given as (name, evaluation) on the same set."""
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
    """One sentence: how many arms beat which baseline."""
    by_baseline: dict[str, list[Standing]] = {}
    for standing in standings:
        by_baseline.setdefault(standing.baseline, []).append(standing)
    beaten: dict[str, list[str]] = {}  # how many arms beat it -> baselines
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
    """The arms from the lowest abs_rel up, in one sentence; empty for a single arm."""
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
    """What the numbers cannot carry.

    Args:
        seeds: Seed of each arm.
        num_images: Images evaluated.
        num_scenes: Scenes they come from.
    """
    drawn = f"seed {seeds[0]}" if len(set(seeds)) == 1 else "seeds " + ", ".join(map(str, seeds))
    return (
        f"Each arm was trained once ({drawn}), and one seed is one draw: another would give other numbers, so a "
        "difference between two arms is not shown to come from what sets them apart. The "
        f"{count(num_images, 'image')} come from {count(num_scenes, 'scene')}, and images of a scene are alike. "
        "No significance is claimed; three seeds an arm would be the least to ask for."
    )


def distinct(first: float, second: float, digits: int = 3) -> tuple[str, str]:
    """Both values with as few decimals (at least `digits`) as tell them apart: unequal values never print the same."""
    while fixed(first, digits) == fixed(second, digits) and first != second:
        digits += 1
    return fixed(first, digits), fixed(second, digits)


def relative_change(value: float, reference: float) -> str:
    """How far `value` lies from `reference`, such as "31 % lower", "0.4 % higher" or "less than 0.1 % lower"."""
    if value == reference:
        return "the same"
    percent = abs(value / reference - 1) * 100 if reference else float("inf")
    size = f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %" if percent >= 0.05 else "less than 0.1 %"
    return f"{size} {'lower' if value < reference else 'higher'}"
