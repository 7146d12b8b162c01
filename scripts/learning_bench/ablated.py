"""DepthUnets that lack one of the measures they have: for ablations alone."""

import math

import torch
from torch import Tensor

from training.losses.pixel_losses import LossSum
from training.model.depth_range import MIN_DEPTH_M
from training.model.depth_unet import DepthUnet, TensorBatch


class WithoutMask(DepthUnet):
    """Counts pixels without a measurement as 0 m in training, as the tutorial does; validation is as ever."""

    def training_step(self, batch: TensorBatch, batch_idx: int) -> Tensor:
        """Compute the loss over all pixels: depth is 0 where it is not valid."""
        return super().training_step(batch | {"valid": torch.ones_like(batch["valid"])}, batch_idx)


class WithoutLog(DepthUnet):
    """Predicts metres, by the tutorial's linear output: s (1 + output), with s the typical depth of the training set.

    In training the output is not bounded; otherwise what is below `MIN_DEPTH_M` is raised to it.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Predict: uint8 (B, 3, H, W) to float32 (B, 1, H, W), metres in training mode, else their natural log."""
        output: Tensor = super().forward(image) - self.options.log_depth_mean
        metres = (1 + output) * self._typical
        return metres if self.training else metres.clamp(min=MIN_DEPTH_M).log()

    def loss_sum(self, log_prediction: Tensor, batch: TensorBatch) -> LossSum:
        """Compute the masked mean squared error of metres by the typical depth, as the loss `mse` does."""
        if not self.training:
            return super().loss_sum(log_prediction, batch)
        counts = batch["valid"] & (batch["weight"] > 0)[:, None, None, None]  # bool (B, 1, H, W)
        error = torch.where(counts, (log_prediction - batch["depth"]) / self._typical, 0.0)
        return LossSum(error.square().sum(), counts.sum())

    @property
    def _typical(self) -> float:
        return math.exp(self.options.log_depth_mean)
