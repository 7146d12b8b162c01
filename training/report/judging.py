"""Contrasts of arms from the evaluations of their runs.

Units are the means of a metric over the images of a scene, of each run, on a logarithmic scale. Images are no units:
those of a scene are alike. A claim "on these scenes" takes the runs as random, one "on scenes like these" the scenes as
well; see `training.report.contrast`.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.evaluation.results import Evaluation, Means
from training.metrics.names import GUARD_PROTOCOL, GUARDS, METRIC, METRIC_NAMES, PROTOCOL
from training.report import contrast
from training.report.contrast import Estimate, Relation, holm, on_scenes_like_these, on_these_scenes
from training.report.verdict import Claim, Contrast, Guard, Side, percent

FLOOR, SHARE_FLOOR = 1e-6, 0.01
"""Least mean of a scene that a logarithm is taken of, of an error and of a share: a scene may be predicted without
error, or nowhere well. Arms that have less than a hundredth of the pixels right have both failed."""

KINDS = {"these_scenes": on_these_scenes, "scenes_like_these": on_scenes_like_these}
"""The two kinds of claims, and how each is estimated."""

WINNERS: Mapping[Relation, Side] = {"better": "a", "worse": "b"}
"""The better arm by how a stands to b."""

Arms = Mapping[str, Sequence[Evaluation]]
"""Evaluations of the runs of each arm."""

SceneMeans = Mapping[str, Means]
"""Means of a run by protocol, scene and metric."""

Pair = tuple[str, str]
Logs = NDArray[np.float64]
"""Natural log of scene means, float64 (runs, scenes); lower is better."""


def judge(arms: Arms, pairs: Sequence[Pair], margin: float, protocol: str = PROTOCOL) -> list[Contrast]:
    """Compare pairs of arms; each kind of claim is corrected over all pairs (Holm 1979).

    Args:
        arms: Evaluations of the runs, all on one set; none repeats another.
        pairs: Names of the arms to compare.
        margin: Relative difference that does not matter: a ratio from 1 / (1 + margin) to 1 + margin.
        protocol: Protocol under which the deciding metric decides.
    """
    kept = {name: [scene_means(one) for one in runs] for name, runs in arms.items()}
    logs = [log_pair(kept[a], kept[b], METRIC, protocol) for a, b in pairs]
    guards = [find_guards(kept[a], kept[b], margin, protocol) for a, b in pairs]
    claims: dict[str, list[Claim]] = {}
    for kind, estimate in KINDS.items():
        estimates = [estimate(*both) for both in logs]
        adjusted = holm([math.nan if one.lack else float(one.p_value) for one in estimates])
        claims[kind] = [
            decide(*each, margin, len(pairs))
            for each in zip(estimates, map(float, adjusted), guards, pairs, strict=True)
        ]
    return [
        Contrast(
            a=a,
            b=b,
            metric=METRIC,
            guards=tuple(guards[at]),
            these_scenes=claims["these_scenes"][at],
            scenes_like_these=claims["scenes_like_these"][at],
        )
        for at, (a, b) in enumerate(pairs)
    ]


def scene_means(evaluation: Evaluation) -> SceneMeans:
    """Return the means of a run by protocol, scene and metric."""
    return {protocol: evaluation.scenes(protocol) for protocol in evaluation.protocols}


def log_pair(a: Sequence[SceneMeans], b: Sequence[SceneMeans], metric: str, protocol: str) -> tuple[Logs, Logs]:
    """Return the logs of the scene means of two arms, float64 (S_a, C) and (S_b, C).

    Only scenes count in which every run was measured. Of a share, which is better when higher, it is the negative log.
    """
    by_run = [one.get(protocol, {}) for one in (*a, *b)]
    scenes = [scene for scene in by_run[0] if all(scene in found for found in by_run)]
    means = np.array([[found[scene].get(metric, math.nan) for scene in scenes] for found in by_run], np.float64)
    is_error = METRIC_NAMES[metric].lower_is_better
    logs = np.log(np.maximum(means.reshape(len(by_run), len(scenes)), FLOOR if is_error else SHARE_FLOOR))
    logs = logs if is_error else -logs
    return logs[: len(a)], logs[len(a) :]


def find_guards(
    a: Sequence[SceneMeans], b: Sequence[SceneMeans], margin: float, protocol: str = PROTOCOL
) -> list[Guard]:
    """Compare two arms by each guard that all their runs have values of."""
    found = []
    for name, (metric, place) in _places(protocol).items():
        ours, theirs = log_pair(a, b, metric, place)
        if not (ours.size and np.isfinite(ours).all() and np.isfinite(theirs).all()):
            continue
        ratio = math.exp(float(ours.mean() - theirs.mean()))
        worse: Side = "a" if ratio > 1 + margin else "b" if ratio < 1 / (1 + margin) else ""
        found.append(Guard(name=name, metric=metric, protocol=place, ratio=ratio, worse=worse))
    return found


def _places(protocol: str) -> dict[str, tuple[str, str]]:
    """Return metric and protocol of each guard by its key."""
    return {metric: (metric, protocol) for metric in GUARDS} | {f"{METRIC}_{GUARD_PROTOCOL}": (METRIC, GUARD_PROTOCOL)}


def find_unguarded(contrasts: Sequence[Contrast], protocol: str = PROTOCOL) -> Iterator[str]:
    """Warn of guards that a contrast does without, in whole sentences."""
    for name in _places(protocol):
        pairs = [f"{one.a} : {one.b}" for one in contrasts if name not in {guard.name for guard in one.guards}]
        if pairs:
            where = "" if len(pairs) == len(contrasts) else f" in {', '.join(pairs)}"
            yield f"No value of {name}{where}: not guarded by it."


def decide(
    estimate: Estimate, adjusted: float, guards: Sequence[Guard], names: Pair, margin: float, num_contrasts: int = 1
) -> Claim:
    """Make the claim that follows from an estimate, unless a guard withholds it.

    Args:
        estimate: Of one contrast.
        adjusted: Its p value after Holm's correction.
        guards: Those of the contrast.
        names: Of both arms.
        margin: Relative difference that does not matter.
        num_contrasts: Number of contrasts that were corrected together.
    """
    corrected = dataclasses.replace(estimate, p_value=np.asarray(adjusted))
    found = contrast.relation(corrected, margin)
    winner = WINNERS.get(found)
    against = [guard.clause() for guard in guards if guard.worse == winner]
    fields = ("low", "high", "low90", "high90", "df", "p_value")
    values = {name: _finite(getattr(estimate, name)) for name in fields if not estimate.lack}
    reason = _reason(corrected, found, margin)
    if num_contrasts > 1:  # it is the p value that is corrected, and not the intervals
        reason = re.sub(r"(p = \S+)", rf"\1 (after Holm's correction over {num_contrasts} contrasts)", reason, count=1)
    if against:
        name = names[0 if winner == "a" else 1]
        reason = f'"{found}" is withheld: of {name}, {", ".join(against)}, beyond the margin of {percent(margin)}'
    return Claim(
        ratio=float(estimate.ratio),
        **values,
        p_adjusted=None if estimate.lack else _finite(adjusted),
        relation="undecided" if against else found,
        withheld=found if against else "",
        reason=reason,
    )


def _reason(estimate: Estimate, found: Relation, margin: float) -> str:
    """Say why a claim is made."""
    if found == "undecided":
        return contrast.explain(estimate, margin)
    if found != "equivalent":
        return f"p = {estimate.p_value:.2g}"
    interval, limits = f"{estimate.low90:.3f} - {estimate.high90:.3f}", f"{1 / (1 + margin):.3f} - {1 + margin:.3f}"
    return f"the 90 % interval of the ratio, {interval}, is within {limits}"


def _finite(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]  # float64 array without axes
    return number if math.isfinite(number) else None
