"""The strip plot of a report: a track per contender, a bar at the mean over images, a dot at the mean of each scene."""

from collections.abc import Sequence
from typing import Any

from training.evaluation.metric_names import METRIC, PROTOCOL, fixed
from training.evaluation.results import Evaluation
from training.report.charts import value_ticks


def strip_plot(contenders: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Place means and scene means of abs_rel on one scale that begins at 0.

    Args:
        contenders: Arms and baselines, each a mapping with name, css, baseline and evaluation.

    Returns:
        `rows` (name, css, baseline, at, text, dots) and `ticks` (at, text), where `at` is in percent of the track.
    """
    scenes = [_scene_means(contender["evaluation"]) for contender in contenders]
    means = [contender["evaluation"].mean(PROTOCOL)[METRIC] for contender in contenders]
    largest = max([value for found in scenes for value in found.values()] + means)
    ticks = [tick for tick in value_ticks(0.0, largest)[0] if tick >= 0]
    return {
        "ticks": [{"at": round(100 * tick / ticks[-1], 2), "text": f"{tick:g}"} for tick in ticks],
        "rows": [
            {
                "name": contender["name"],
                "css": contender["css"],
                "baseline": contender["baseline"],
                "at": round(100 * mean / ticks[-1], 2),
                "text": fixed(mean),
                "dots": [
                    {"scene": scene, "at": round(100 * value / ticks[-1], 2), "text": fixed(value)}
                    for scene, value in found.items()
                ],
            }
            for contender, found, mean in zip(contenders, scenes, means, strict=True)
        ],
    }


def _scene_means(evaluation: Evaluation) -> dict[str, float]:
    return {scene: row[METRIC] for scene, row in evaluation.scenes(PROTOCOL).items()}
