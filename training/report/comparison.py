"""The values of a comparison: arms, baselines, standings, example images, and how all of it was made.

`training.report.compare` collects them from run folders, `training.report.page` shows them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.evaluation.metric_names import METRIC, PROTOCOL
from training.evaluation.results import Evaluation, SetInfo
from training.report.standing import Standing, caution, headline, ranking


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Values logged for an epoch of training.

    Attributes:
        epoch: From 1.
        train_loss: Mean training loss; None if it was not logged.
        val_abs_rel: Validation abs_rel under the headline protocol; None if it was not logged.
    """

    epoch: int
    train_loss: float | None
    val_abs_rel: float | None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A fine-tuned run.

    Attributes:
        name: Name of its run folder.
        folder: Its run folder.
        config: Its resolved options.
        history: Its epochs in order.
        evaluation: Evaluation of its last checkpoint on its validation set.
        train: The set it was trained on.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    history: tuple[Epoch, ...]
    evaluation: Evaluation
    train: SetInfo


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """A baseline, evaluated.

    Attributes:
        name: "constant median" or "row mean" (with the names of its arms if there are several training
            sets).
        kind: "constant median" or "row mean".
        detail: What it predicts, with numbers.
        evaluation: Evaluation on the arms' validation set.
        train: The set it was computed from.
    """

    name: str
    kind: str
    detail: str
    evaluation: Evaluation
    train: SetInfo


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A predictor's depth of one image and its error, as PNG files.

    Attributes:
        name: Name of the predictor.
        abs_rel: abs_rel of this prediction on this image.
        depth_png: Depth in colour, on the gallery's scale.
        error_png: Log ratio of prediction to truth in colour, on the gallery's scale; grey where there is no truth.
    """

    name: str
    abs_rel: float
    depth_png: bytes
    error_png: bytes


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image with truth and predictions.

    Attributes:
        key: Key of the sample.
        scene: Its scene.
        reason: Why this image is shown.
        image_png: The image.
        truth_png: Measured depth in colour; grey where nothing was measured.
        panels: One for each arm, then the row baseline.
    """

    key: str
    scene: str
    reason: str
    image_png: bytes
    truth_png: bytes
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Example images and the two colour scales they share.

    Attributes:
        examples: The images.
        near_m: Depth at the left end of the depth scale, metres; the scale is logarithmic.
        far_m: Depth at its right end, metres.
        max_factor: Error at the right end of the error scale: prediction / truth; its inverse at the left end.
        depth_bar_png: The depth scale, left to right.
        error_bar_png: The error scale, left to right.
    """

    examples: tuple[Example, ...]
    near_m: float
    far_m: float
    max_factor: float
    depth_bar_png: bytes
    error_bar_png: bytes


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All values that a report shows.

    Attributes:
        arms: In the order given.
        baselines: Two for each training set.
        standings: Each arm against the baselines of its own training set.
        warnings: What limits the comparison, in whole sentences.
        val: The set that all were evaluated on.
        gallery: Example images.
        command: The command that makes this report again.
        versions: Version by name, of the software that was used.
    """

    arms: tuple[Arm, ...]
    baselines: tuple[BaselineResult, ...]
    standings: tuple[Standing, ...]
    warnings: tuple[str, ...]
    val: SetInfo
    gallery: Gallery
    command: str
    versions: dict[str, str]

    def contenders(self) -> Iterator[tuple[str, Evaluation]]:
        """Yield name and evaluation of every arm, then of every baseline."""
        for arm in self.arms:
            yield arm.name, arm.evaluation
        for baseline in self.baselines:
            yield baseline.name, baseline.evaluation

    def verdict(self) -> list[str]:
        """Return the result in whole sentences: warnings, the standing of each arm, ranking, and what is not shown."""
        values = [(arm.name, arm.evaluation.mean(PROTOCOL)[METRIC]) for arm in self.arms]
        sentences = [*self.warnings, headline(self.standings)]
        sentences += [standing.sentence() + "." for standing in self.standings]
        sentences += [text for text in [ranking(values)] if text]
        return [*sentences, self.caution()]

    def caution(self) -> str:
        """State what the numbers do not show."""
        seeds = [arm.config.get("seed", "unknown") for arm in self.arms]
        return caution(seeds, self.arms[0].evaluation.counted(PROTOCOL), len(self.arms[0].evaluation.scenes(PROTOCOL)))

    def to_json(self) -> dict[str, Any]:
        """Return the object of `depthstream compare --json`: metrics of arms and baselines, standings and verdict."""
        return {
            "val": asdict(self.val),
            "arms": {arm.name: arm.evaluation.summary() for arm in self.arms},
            "baselines": {
                result.name: {"detail": result.detail, "train": asdict(result.train), **result.evaluation.summary()}
                for result in self.baselines
            },
            "standings": [asdict(standing) | {"relation": standing.relation} for standing in self.standings],
            "warnings": list(self.warnings),
            "verdict": self.verdict(),
        }
