"""Image panels for TensorBoard: image, measured depth, prediction and error of the same few samples every time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from sharding.format.sample import Sample
from sharding.reading.pictures import color_bar, colorize_depth, depth_range, fit_side, load_font
from sharding.reading.shard_set import ShardSet
from training.depth_options import TrainedKind
from training.evaluation.error_colours import error_bar, paint_error
from training.metrics.image_metrics import image_metrics
from training.metrics.names import METRIC
from training.metrics.protocols import METRICS
from training.model.criterion import make_protocol

ERROR_SCALE_FACTOR = 2.0
"""Prediction / truth at the red end of the error's colour scale, truth / prediction at the blue end."""

PICTURE_SIDE_PX = 384
"""Longer side of each of the four pictures: large enough to see, small enough to keep for every epoch."""

_LEAST_SIDE_PX = 140  # of a column's picture, so that the words above it and the labels of its bar have room
_TITLE_PX, _NOTE_PX, _HEAD_PX, _GAP_PX = 15, 13, 44, 12  # height of the two lines of words, of both with margins
_COLUMN_PX = 300  # least width of a column, for its words


class DepthPanels(Callback):
    """Writer of panels of a few validation samples to TensorBoard, after each validation, on rank 0.

    Args:
        samples: The validation set.
        rows: Rows of the set to show; by default `count` rows spread evenly over the set.
        count: Number of samples.
    """

    def __init__(self, samples: ShardSet, rows: Sequence[int] | None = None, count: int = 4) -> None:
        self._set = samples
        self._rows = list(rows) if rows is not None else spread_rows(len(samples), count)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Predict the samples one by one, at their native sizes, and write a panel for each."""
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if trainer.sanity_checking or not trainer.is_global_zero or not boards:
            return
        writer = boards[0].experiment
        model: Any = pl_module
        for sample in self._set.read(self._rows):
            image = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))[None]  # (1, 3, H, W)
            prediction = model.predict_depth(image.to(model.device))[0, 0].cpu().numpy()
            panel = np.asarray(draw_panel(sample, prediction, model.options.depth_kind))
            writer.add_image(f"val/{sample.key}", panel, trainer.current_epoch, dataformats="HWC")


def spread_rows(total: int, count: int) -> list[int]:
    """Choose at most `count` rows, spread evenly over `total`: the middles of `count` equal parts."""
    return [(2 * place + 1) * total // (2 * count) for place in range(count)] if total > count else list(range(total))


def at_median(
    prediction: NDArray[np.float32], depth: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Multiply a prediction, float32 (H, W), so that its median over the valid pixels, at least one, is the truth's."""
    return prediction * np.float32(np.median(depth[valid]) / np.median(prediction[valid]))


def draw_panel(sample: Sample, prediction: NDArray[np.float32], depth_kind: TrainedKind = "metric") -> Image.Image:
    """Draw image, truth, prediction and error side by side, with words above and colour bars beside them.

    Truth and prediction share a log scale, from the 1st to the 99th percentile of the truth. The error is
    ln(prediction / truth), from blue (`ERROR_SCALE_FACTOR` times too near, or nearer) over white (right) to red (too
    far). Grey is not measured.

    Args:
        sample: Image (H, W, 3), depth and valid (H, W).
        prediction: float32 (H, W), positive and finite.
        depth_kind: Whether depth is in metres; if not, the prediction is multiplied to have the median of the truth.
    """
    depth, valid = sample.depth, sample.valid
    if depth is None or valid is None:
        raise ValueError(f"sample {sample.key} has no depth to show")
    scale, metric = depth_range([sample]), depth_kind == "metric"
    if not metric and valid.any():
        prediction = at_median(prediction, depth, valid)
    pictures = [
        fit_side(sample.image, PICTURE_SIDE_PX),
        # No colour of a scale is mixed from others: rows and columns are left out, or repeated.
        fit_side(colorize_depth(depth, valid, *scale), PICTURE_SIDE_PX, Image.Resampling.NEAREST),
        fit_side(colorize_depth(prediction, np.ones_like(valid), *scale), PICTURE_SIDE_PX, Image.Resampling.NEAREST),
        fit_side(paint_error(prediction, depth, valid, ERROR_SCALE_FACTOR), PICTURE_SIDE_PX, Image.Resampling.NEAREST),
    ]
    height = max(pictures[0].height, _LEAST_SIDE_PX)
    depth_bar, ratio_bar = color_bar(height, *scale, "m" if metric else ""), error_bar(height, ERROR_SCALE_FACTOR)
    unit = "m" if metric else "up to scale"
    words = [
        ("image", sample.key),
        (f"measured depth ({unit})", "grey: not measured"),
        (f"predicted depth ({unit})", "the same scale" if metric else "multiplied to have the same median"),
        ("error: too near (blue) - too far (red)", describe_error(depth, valid, prediction, depth_kind)),
    ]
    bars = (None, depth_bar, depth_bar, ratio_bar)
    return _join([_column(*words[at], pictures[at], bars[at], height) for at in range(4)])


def describe_error(
    depth: NDArray[np.float32],
    valid: NDArray[np.bool_],
    prediction: NDArray[np.float32],
    depth_kind: TrainedKind = "metric",
) -> str:
    """Return the sample's `METRIC` as validation counts it, in words."""
    guess, truth, known = (
        torch.from_numpy(np.ascontiguousarray(one))[None, None] for one in (prediction, depth, valid)
    )
    values, counted = image_metrics(guess, truth, known, make_protocol(depth_kind))
    return f"{METRIC} {values[0, METRICS.index(METRIC)]:.4f}" if counted[0] else "too little was measured"


def _column(title: str, note: str, picture: Image.Image, bar: Image.Image | None, height: int) -> Image.Image:
    """Draw two lines of words above a picture and its colour bar, on white."""
    width = max(_COLUMN_PX, picture.width + (_GAP_PX // 2 + bar.width if bar else 0))
    column = Image.new("RGB", (width, _HEAD_PX + height), "white")
    draw = ImageDraw.Draw(column)
    draw.text((0, 2), title, fill="black", font=load_font(_TITLE_PX))
    draw.text((0, 4 + _TITLE_PX + 4), _cut(note, width), fill="black", font=load_font(_NOTE_PX))
    column.paste(picture, (0, _HEAD_PX))
    if bar:
        column.paste(bar, (picture.width + _GAP_PX // 2, _HEAD_PX))
    return column


def _cut(text: str, width: int) -> str:
    """Shorten text in the middle until it is at most `width` pixels wide."""
    font, shown, keep = load_font(_NOTE_PX), text, len(text)
    while font.getlength(shown) > width:
        keep -= 1
        shown = f"{text[: keep - keep // 2]}...{text[len(text) - keep // 2 :]}"
    return shown


def _join(columns: Sequence[Image.Image]) -> Image.Image:
    width = sum(column.width for column in columns) + _GAP_PX * (len(columns) + 1)
    panel, left = Image.new("RGB", (width, columns[0].height + 2 * _GAP_PX), "white"), _GAP_PX
    for column in columns:
        panel.paste(column, (left, _GAP_PX))
        left += column.width + _GAP_PX
    return panel
