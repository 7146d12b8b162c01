"""Image panels for TensorBoard: image, measured depth, prediction and error of the same few samples every time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from sharding.format.sample import Sample
from sharding.reading.pictures import colorize_depth, depth_range
from sharding.reading.shard_set import ShardSet

ERROR_SCALE_FACTOR = 2.0
"""Prediction / truth, or its inverse, at the end of the error's colour scale."""


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
            writer.add_image(
                f"val/{sample.key}", draw_panel(sample, prediction), trainer.current_epoch, dataformats="HWC"
            )


def spread_rows(total: int, count: int) -> list[int]:
    """Choose at most `count` rows, spread evenly over `total`: the middles of `count` equal parts."""
    return [(2 * place + 1) * total // (2 * count) for place in range(count)] if total > count else list(range(total))


def draw_panel(sample: Sample, prediction: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw image, truth, prediction and error side by side.

    Truth and prediction share a log scale, from the 1st to the 99th percentile of the truth. The error is
    max(p / g, g / p), from white (1: no error) to dark (`ERROR_SCALE_FACTOR` or more). Grey is not measured.

    Args:
        sample: Image (H, W, 3), depth and valid (H, W).
        prediction: float32 (H, W), metres, positive.

    Returns:
        uint8 (H, 4 * W, 3).
    """
    depth, valid = sample.depth, sample.valid
    if depth is None or valid is None:
        raise ValueError(f"sample {sample.key} has no depth to show")
    near, far = depth_range([sample])
    # Invalid pixels get the ratio 1, which avoids a division by 0; they are painted grey.
    truth = np.where(valid, depth, prediction)
    factor = np.maximum(prediction / truth, truth / prediction)
    columns = [
        sample.image,
        colorize_depth(depth, valid, near, far),
        colorize_depth(prediction, np.ones_like(valid), near, far),
        colorize_depth(factor, valid, 1.0, ERROR_SCALE_FACTOR, cmap="Reds"),
    ]
    return np.concatenate(columns, axis=1)
