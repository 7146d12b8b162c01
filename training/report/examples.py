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
from training.baselines.names import ROW
from training.evaluation.error_colours import paint_error, paint_log_ratio
from training.evaluation.evaluate import load_predictor
from training.evaluation.results import Evaluation
from training.finetuning.panels import at_median
from training.metrics.names import METRIC, PROTOCOL
from training.model.inference import Predictor, predict_image
from training.report.comparison import ArmResult, BaselineResult
from training.report.gallery import Example, Gallery, Panel
from training.report.measuring import CHECKPOINT, Measuring
from training.runfolder import find_checkpoint

THUMBNAIL_SIDE_PX = 320
"""Longer side of a painted image."""

WORST = 5
"""Number of worst images that are shown."""

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


def choose_examples(
    arms: Sequence[Evaluation], protocol: str = PROTOCOL, most_scenes: int = 4, worst: int = WORST
) -> list[Choice]:
    """Pick, by the deciding metric, mean over all runs, the median image of each scene and the worst of all.

    Args:
        arms: Evaluations of all runs, on one set.
        protocol: Protocol of the metric.
        most_scenes: Maximum number of scenes; of more scenes, this many are taken, evenly spaced by name.
        worst: Number of worst images.
    """
    # By key: the mean over the runs of the image's metric.
    difficulty = pd.concat([arm.rows(protocol)[METRIC] for arm in arms]).groupby(level=0, sort=False).mean()
    scenes = arms[0].rows(protocol)["scene"]
    names = sorted(set(scenes))
    spaced = [names[round(at)] for at in np.linspace(0, len(names) - 1, min(most_scenes, len(names)))]
    chosen = {}
    for scene in spaced:
        ordered = difficulty[scenes[scenes == scene].index].sort_values(kind="stable")
        key = str(ordered.index[(len(ordered) - 1) // 2])
        chosen[key] = Choice(key=key, scene=scene, reason=f"the scene's median image by {METRIC}, mean over all runs")
    hardest = difficulty.sort_values(ascending=False, kind="stable").index[:worst]
    for rank, key in enumerate(map(str, hardest), 1):
        reason = f"number {rank} of the worst images by {METRIC}, mean over all runs"
        both = f"{chosen[key].reason}; {reason}" if key in chosen else reason
        chosen[key] = Choice(key=key, scene=str(scenes[key]), reason=both)
    return list(chosen.values())


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A predictor whose pictures are shown.

    Attributes:
        name: Its name.
        values: Deciding metric of each picture, by key.
        depths: float32 (H, W) metres, by key.
    """

    name: str
    values: Mapping[str, float]
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
                value=one.values[choice.key],
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


def _at_median(depth: NDArray[np.float32], sample: Sample) -> NDArray[np.float32]:
    assert sample.depth is not None, "read with depth"
    assert sample.valid is not None, "read with valid"
    return at_median(depth, sample.depth, sample.valid)


def make_gallery(
    arms: Sequence[ArmResult],
    baselines: Sequence[BaselineResult],
    measuring: Measuring,
    protocol: str,
) -> Gallery:
    """Predict and paint the example images, by the first run of each arm and by the row baselines.

    Args:
        arms: All arms.
        baselines: The baselines.
        measuring: Set and device to predict on.
        protocol: Protocol under which the deciding metric decides.
    """
    val, device = measuring.val, measuring.computing.device
    evaluations = [one for arm in arms for one in arm.evaluations]
    choices = choose_examples(evaluations, protocol)
    place = {key: row for row, key in enumerate(val.rows["key"])}  # row of each key
    samples = {sample.key: sample for sample in val.read([place[choice.key] for choice in choices])}

    def show(name: str, evaluation: Evaluation, predictor: Predictor) -> Shown:
        depths = {key: predict_image(predictor, sample.image, device) for key, sample in samples.items()}
        if evaluation.protocols[protocol].median_scale:  # no metres: shown as it is measured
            depths = {key: _at_median(depth, samples[key]) for key, depth in depths.items()}
        values = {str(key): float(value) for key, value in evaluation.rows(protocol)[METRIC].items()}
        return Shown(name=name, values=values, depths=depths)

    shown = []
    for arm in arms:  # one network in memory at a time
        first = arm.runs[0]
        named = load_predictor(find_checkpoint(first.run.folder, CHECKPOINT), arm.name, device)
        name = arm.name if len(arm.runs) == 1 else f"{arm.name}, seed {first.run.seed}"
        shown.append(show(name, first.evaluation, named.predictor))
    shown += [show(one.name, one.evaluation, one.predictor) for one in baselines if one.kind == ROW]
    return build_gallery(choices, samples, shown)
