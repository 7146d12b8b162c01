"""What can be said of a pair of arms: claims about the deciding metric, and the guards that withhold them, in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.metrics.names import METRIC_NAMES, PROTOCOL_NAMES
from training.report.contrast import Relation

Side = Literal["a", "b", ""]

_MOST_NAMED = 3  # contrasts that a headline tells one by one


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed of arm a against arm b.

    Attributes:
        ratio: Deciding metric of a over that of b, geometric mean over scenes and runs; below 1: a is better.
        low: Lower end of the 95 % interval; None where there is no interval, as for all that follow.
        high: Its upper end; None beside a `low` of 0 if it is too large for a float.
        low90: Lower end of the 90 % interval.
        high90: Its upper end.
        df: Degrees of freedom.
        p_value: Of no difference.
        p_adjusted: The same after Holm's correction over the contrasts.
        relation: The claim.
        withheld: The relation that the guards withhold; "" if they withhold none.
        reason: Why, in words.
    """

    ratio: float
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    df: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    relation: Relation = "undecided"
    withheld: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A metric that must not be worse where the deciding one is better.

    Attributes:
        name: Its key: the metric, and the protocol unless that decides.
        metric: Name of the metric.
        protocol: Protocol of its values.
        ratio: That of a over b, geometric mean over scenes and runs; of a share that of b over a: below 1, a is better.
        worse: The arm that is worse beyond the margin, "a" or "b"; "" if none is.
    """

    name: str
    metric: str
    protocol: str
    ratio: float
    worse: Side

    @property
    def label(self) -> str:
        """Return what it is called, such as "log10 edge-cleaned"."""
        where = "" if self.name == self.metric else f" {PROTOCOL_NAMES[self.protocol].label.lower()}"
        return self.metric + where

    def clause(self) -> str:
        """Describe it for the worse arm, such as "abs_rel is 14 % higher"."""
        ratio = max(self.ratio, 1 / self.ratio)
        if METRIC_NAMES[self.metric].lower_is_better:
            return f"{self.label} is {percent(ratio - 1)} higher"
        return f"{self.label} is {percent(1 - 1 / ratio)} lower"

    def text(self, names: Mapping[str, str]) -> str:
        """Tell the ratio, and which arm is worse beyond the margin, such as "abs_rel 1.142 (near is worse)".

        Args:
            names: Name of the arm by side.
        """
        return f"{self.label} {ratio_text(self.ratio)}" + (f" ({names[self.worse]} is worse)" if self.worse else "")


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two arms compared.

    Attributes:
        a: Name of an arm.
        b: Name of the arm that it is compared with.
        metric: The deciding metric.
        these_scenes: The claim about the scenes that were measured: runs are random.
        scenes_like_these: The claim about scenes of their kind: scenes are random, too.
        guards: The guards.
        factors: What the arms differ in, in words.
    """

    a: str
    b: str
    metric: str
    these_scenes: Claim
    scenes_like_these: Claim
    guards: tuple[Guard, ...]
    factors: tuple[str, ...] = ()

    def claims(self) -> tuple[tuple[str, Claim], ...]:
        """Return both claims, each with its kind in words."""
        return ("on these scenes", self.these_scenes), ("on scenes like these", self.scenes_like_these)

    def sentences(self) -> list[str]:
        """Say both claims in whole sentences; in one where both lack runs."""
        if self.these_scenes.low is None and self.scenes_like_these.low is None:
            claim = self.these_scenes
            return [f"{self.a} against {self.b}: {claim.relation}: {claim.reason}; {self.difference(claim)}."]
        return [
            f"{place[0].upper()}{place[1:]}, {self.relation_words(claim)}: {self.difference(claim)}; {claim.reason}."
            for place, claim in self.claims()
        ]

    def relation_words(self, claim: Claim) -> str:
        """Say the relation, such as "a is better than b"."""
        undecided = f"{self.a} against {self.b} is undecided"
        names = {"a": self.a, "b": self.b}
        worse = [f"{guard.clause()} with {names[guard.worse]}" for guard in self.guards if guard.worse]
        words = {
            "better": f"{self.a} is better than {self.b}",
            "worse": f"{self.a} is worse than {self.b}",
            "equivalent": f"{self.a} and {self.b} are equivalent in {self.metric}"
            + (f" ({', '.join(worse)})" if worse else ""),
            "undecided": f"{undecided} ({claim.withheld} by {self.metric} alone)" if claim.withheld else undecided,
        }
        return words[claim.relation]

    def difference(self, claim: Claim) -> str:
        """Say the difference, such as "log10 12 % lower (ratio 0.88, 95 % interval 0.81 to 0.95, df 3.6)"."""
        change = "the same"
        if claim.ratio != 1:
            change = f"{percent(abs(1 - claim.ratio))} {'lower' if claim.ratio < 1 else 'higher'} with {self.a}"
        interval = (
            ""
            if claim.low is None
            else f", 95 % interval {ratio_text(claim.low)} to {ratio_text(claim.high)}, df {claim.df:.1f}"
        )
        return f"{self.metric} is {change} (ratio {ratio_text(claim.ratio)}{interval})"

    def to_json(self) -> dict[str, Any]:
        """Return an element of `contrasts` of `compare --json`."""
        guards = {guard.name: dataclasses.asdict(guard) for guard in self.guards}
        return dataclasses.asdict(self) | {"factors": list(self.factors), "guards": guards}


def ratio_text(ratio: float | None) -> str:
    """Format a ratio, such as "0.281"; beyond any use it is "above 1000", also where it is too large for a float."""
    return "above 1000" if ratio is None or ratio > 1000 else f"{ratio:.3f}"


def percent(share: float) -> str:
    """Format a share as percent, such as "14 %" or "0.4 %"."""
    value = 100 * share
    # The limits are where one decimal would round to 10.0 % and to 0.1 %.
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.05 else "less than 0.1 %"


def headline(contrasts: Sequence[Contrast]) -> str:
    """Write the sentence that a report begins with: what was decided, on which scenes."""
    if not contrasts:
        return "One arm: there is nothing to compare it with but the baselines."
    if len(contrasts) == 1:
        one = contrasts[0]
        first, second = one.these_scenes, one.scenes_like_these
        if first.relation == second.relation:
            return f"{one.relation_words(first)}, on these scenes and on scenes like these."
        return f"{one.relation_words(first)} on these scenes; on scenes like these it is {second.relation}."
    decided = [one.relation_words(one.these_scenes) for one in contrasts if one.these_scenes.relation != "undecided"]
    general, total = sum(one.scenes_like_these.relation != "undecided" for one in contrasts), len(contrasts)
    text = "; ".join(decided) or "No arm is shown to be better than another"
    if len(decided) > _MOST_NAMED:
        text = f"{len(decided)} of {total} contrasts are decided"
    return f"{text} on these scenes; on scenes like these {general} of {total} contrasts are decided."
