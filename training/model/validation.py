"""What validation adds up: loss and metrics of an epoch's images, exact over batches and ranks."""

from typing import Any

from torch import Tensor

from training.losses.pixel_losses import LossSum
from training.metrics.image_metrics import MetricSums, image_metrics
from training.metrics.names import METRIC_NAMES
from training.metrics.protocols import Protocol
from training.model.depth_range import depth_from_log


class ValidationSums:
    """Sums of the loss, and of the metrics under a protocol.

    Args:
        protocol: Which pixels are compared, and how.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.metrics, self._loss, self._protocol = MetricSums(), LossSum.zero(), protocol

    def add(self, z: Tensor, loss: LossSum, batch: dict[str, Any]) -> None:
        """Add a batch.

        Args:
            z: float32 (B, 1, H, W), natural log of the predicted depth.
            loss: Of the batch.
            batch: With "depth", "valid" and "weight".
        """
        self._loss = self._loss + loss.detached()
        values, counted = image_metrics(depth_from_log(z), batch["depth"], batch["valid"], self._protocol)
        self.metrics.add(values, counted, batch["weight"])

    def means(self) -> dict[str, float]:
        """Reduce over the ranks to means: "loss" and each metric of the protocol, every sample counted exactly once.

        Under a protocol that is not in metres those are left out that have a unit.

        Raises:
            DataError: No image has enough valid pixels.
        """
        self.metrics.all_reduce()
        means = self.metrics.mean()
        kept = [name for name in means if self._protocol.in_metres or not METRIC_NAMES[name].unit]
        return {"loss": float(self._loss.over_ranks().mean()), **{name: means[name] for name in kept}}
