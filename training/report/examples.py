"""Example images of a report: which images are chosen, and how depth and error are painted.

Depth has one logarithmic colour scale for the whole gallery, and so has the error, the ratio of prediction to truth.
Arrays are made smaller by leaving out rows and columns, so that no painted value is interpolated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from sharding.format.sample import Sample
from sharding.reading.pictures import colorize_depth, encode_png
from training.evaluation.error_colours import paint_error, paint_log_ratio
from training.evaluation.metric_names import METRIC, PROTOCOL
from training.evaluation.results import Evaluation
from training.report.comparison import Example, Gallery, Panel

THUMBNAIL_SIDE_PX = 320
"""Longer side of a painted image."""

ERROR_SCALE_FACTOR = 4.0
"""Prediction / truth at the ends of the error scale, and its inverse."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An image to show.

    Attributes:
        key: Key of the sample.
        scene: Its scene.
        reason: Why it is shown.
    """

    key: str
    scene: str
    reason: str


def choose_examples(arms: Sequence[Evaluation], most_scenes: int = 4) -> list[Choice]:
    """Pick, by mean abs_rel over the arms, the median image of each scene and the worst image of all.

    Args:
        arms: Evaluations on one set.
        most_scenes: Maximum number of scenes; of more scenes, this many are taken, evenly spaced by name.
    """
    # By key: the mean over the arms of the image's abs_rel.
    difficulty = pd.concat([arm.rows(PROTOCOL)[METRIC] for arm in arms]).groupby(level=0, sort=False).mean()
    scenes = arms[0].rows(PROTOCOL)["scene"]
    names = sorted(set(scenes))
    spaced = [names[round(at)] for at in np.linspace(0, len(names) - 1, min(most_scenes, len(names)))]
    chosen = {}
    for scene in spaced:
        ordered = difficulty[scenes[scenes == scene].index].sort_values(kind="stable")
        key = str(ordered.index[(len(ordered) - 1) // 2])
        chosen[key] = Choice(key=key, scene=scene, reason="the scene's median image by abs_rel, mean over the arms")
    worst = str(difficulty.idxmax())
    hardest = Choice(
        key=worst, scene=str(scenes[worst]), reason="the worst image of all by abs_rel, mean over the arms"
    )
    chosen.setdefault(worst, hardest)
    return list(chosen.values())


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A predictor whose pictures are shown.

    Attributes:
        name: Its name.
        evaluation: Its evaluation, for the number next to each picture.
        depths: float32 (H, W) metres, by key.
    """

    name: str
    evaluation: Evaluation
    depths: Mapping[str, NDArray[np.float32]]


def build_gallery(choices: Sequence[Choice], samples: Mapping[str, Sample], shown: Sequence[Shown]) -> Gallery:
    """Paint the chosen images, with truth, predictions and errors, and the two colour scales.

    Args:
        choices: Images to paint, in order.
        samples: Samples with image, depth and valid, by key.
        shown: Predictors, in order.
    """
    near, far = _depth_range(samples[choice.key] for choice in choices)
    examples = tuple(_example(choice, samples[choice.key], shown, (near, far)) for choice in choices)
    ramp = np.linspace(0, 1, 256)[None, :]  # (1, 256)
    # The ramp runs from -1 to 1 for the error scale, and logarithmically from near to far for the depth scale.
    depths = (near * (far / near) ** ramp).astype(np.float32)
    return Gallery(
        examples=examples,
        near_m=near,
        far_m=far,
        max_factor=ERROR_SCALE_FACTOR,
        depth_bar_png=encode_png(colorize_depth(depths, np.ones_like(depths, bool), near, far)),
        error_bar_png=encode_png(paint_log_ratio(2 * ramp - 1)),
    )


def _depth_range(samples: Iterator[Sample]) -> tuple[float, float]:
    """Compute the 1st and 99th percentile of all valid depth, metres: the ends of the colour scale."""
    measured = np.concatenate(
        [sample.depth[sample.valid] for sample in samples if sample.depth is not None and sample.valid is not None]
    )
    near, far = np.percentile(measured, [1, 99])
    return float(near), float(max(far, near * 1.01))  # the scale must not be empty


def _example(choice: Choice, sample: Sample, shown: Sequence[Shown], span: tuple[float, float]) -> Example:
    assert sample.depth is not None, "read with depth"
    assert sample.valid is not None, "read with valid"
    # -(-a // b) rounds up: every step-th pixel then gives at most THUMBNAIL_SIDE_PX of them.
    step = max(1, -(-max(sample.depth.shape) // THUMBNAIL_SIDE_PX))
    truth, valid = sample.depth[::step, ::step], sample.valid[::step, ::step]
    panels = []
    for one in shown:
        depth = one.depths[choice.key][::step, ::step]
        panels.append(
            Panel(
                name=one.name,
                abs_rel=float(one.evaluation.rows(PROTOCOL)[METRIC][choice.key]),
                depth_png=encode_png(colorize_depth(depth, np.ones_like(valid), *span)),
                error_png=encode_png(paint_error(depth, truth, valid, ERROR_SCALE_FACTOR)),
            )
        )
    small = Image.fromarray(sample.image).resize((truth.shape[1], truth.shape[0]), Image.Resampling.LANCZOS)
    return Example(
        key=choice.key,
        scene=choice.scene,
        reason=choice.reason,
        image_png=encode_png(np.asarray(small)),
        truth_png=encode_png(colorize_depth(truth, valid, *span)),
        panels=tuple(panels),
    )
