"""Depth metrics: per image over valid pixels in float64, then averaged over images and ranks.

Per-image averaging is the convention of KITTI, NYU and the DIODE devkit. Ground truth is never resized and never
clipped: pixels out of range are left out. Independent of networks, sets and files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sharding.errors import DataError
from training.metrics.formulas import FORMULAS, Pairs
from training.metrics.protocols import (
    EDGE_RATIO,
    EDGE_WINDOW_PX,
    GARG_COLUMNS,
    GARG_ROWS,
    METRICS,
    MIN_VALID_PIXELS,
    Protocol,
)


def image_metrics(prediction: Tensor, depth: Tensor, valid: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Compute all metrics of each image.

    Args:
        prediction: (B, 1, H, W) metres, finite everywhere.
        depth: float32 (B, 1, H, W) metres, read only where valid.
        valid: bool (B, 1, H, W).
        protocol: Which pixels are compared, and how.

    Returns:
        values: float64 (B, 10), columns as in `METRICS`; 0 where the image is not counted.
        counted: bool (B,), False for images with fewer pixels to compare than `protocol.min_pixels`.

    Raises:
        ValueError: The shapes differ, or valid is not bool.
        DataError: The prediction contains NaN or inf; a valid depth is not finite and positive; the median to scale by
            is not positive, nor is a prediction that is not clamped.
    """
    truth = ComparedTruth.of(depth, valid, protocol)
    return truth.metrics(prediction), truth.counted


@dataclass(frozen=True, kw_only=True)
class ComparedTruth:
    """The truth of a batch under a protocol: chosen once, then compared with any number of predictions.

    Attributes:
        depth: float64 (B, 1, H, W), metres; 1 where invalid.
        chosen: bool (B, 1, H, W), pixels to compare; none in images that are not counted.
        counted: bool (B,).
        protocol: The protocol.
    """

    depth: Tensor
    chosen: Tensor
    counted: Tensor
    protocol: Protocol

    @classmethod
    def of(cls, depth: Tensor, valid: Tensor, protocol: Protocol) -> "ComparedTruth":
        """Choose the pixels of `depth` (B, 1, H, W) that the protocol compares.

        Raises:
            ValueError: The shapes differ, or valid is not bool.
            DataError: A valid depth is not finite and positive.
        """
        if not (depth.ndim == 4 and depth.shape == valid.shape and valid.dtype == torch.bool):
            raise ValueError(
                "depth and valid (bool) must have the same shape (B, 1, H, W), found "
                f"{tuple(depth.shape)} and {tuple(valid.shape)} {valid.dtype}"
            )
        depth = _double(torch.where(valid, depth, 1.0))
        valid = valid.to(depth.device)
        _require(depth.isfinite() & (depth > 0), "valid pixels have a depth that is not finite and above 0")
        chosen = valid & _within(depth, protocol)
        if protocol.garg_crop:
            chosen &= _garg_crop(depth)
        if protocol.drop_edges:
            chosen &= ~depth_edges(depth, valid)
        counted = chosen.flatten(1).sum(1) >= protocol.min_pixels
        chosen &= counted[:, None, None, None]  # so that all metrics of other images are 0
        return cls(depth=depth, chosen=chosen, counted=counted, protocol=protocol)

    def metrics(self, prediction: Tensor, names: Sequence[str] = METRICS) -> Tensor:
        """Compute metrics of each image.

        Args:
            prediction: (B, 1, H, W) metres, finite everywhere.
            names: Which metrics.

        Returns:
            float64 (B, len(names)); 0 where the image is not counted.

        Raises:
            ValueError: The shape is not that of the truth.
            DataError: As `image_metrics`.
        """
        if prediction.shape != self.depth.shape:
            shapes = f"{tuple(prediction.shape)}, {tuple(self.depth.shape)}"
            raise ValueError(f"prediction and depth must have the same shape (B, 1, H, W), found {shapes}")
        prediction = _double(prediction)
        _require(prediction.isfinite(), "the prediction contains NaN or inf; look at the run's loss curve")
        p, g, chosen = prediction.flatten(1), self.depth.flatten(1), self.chosen.flatten(1)  # (B, P)
        if self.protocol.median_scale:
            p = _median_scaled(p, g, chosen)
        if self.protocol.clamp:
            p = p.clamp(self.protocol.min_depth, self.protocol.max_depth)
        else:
            _require((p > 0) | ~chosen, "predictions are not above 0, and this protocol does not clamp them")
        pairs = Pairs(p, g, chosen)
        return torch.stack([FORMULAS[name](pairs) for name in names], 1)


def _double(value: Tensor) -> Tensor:
    """Return float64, on the CPU if the device (mps) has none."""
    return (value.cpu() if value.device.type == "mps" else value).double()


def _within(depth: Tensor, protocol: Protocol) -> Tensor:
    """Tell which depths are in the protocol's range: bool, of the shape of depth."""
    most = math.inf if protocol.max_depth is None else protocol.max_depth
    if protocol.open_range:
        return (depth > protocol.min_depth) & (depth < most)
    return (depth >= protocol.min_depth) & (depth <= most)


def _garg_crop(depth: Tensor) -> Tensor:
    """Return bool (B, 1, H, W), True within the crop of Garg et al., its sides rounded down as ZoeDepth does."""
    inside = torch.zeros_like(depth, dtype=torch.bool)
    (top, bottom), (left, right) = (
        [int(share * side) for share in shares]
        for shares, side in zip((GARG_ROWS, GARG_COLUMNS), depth.shape[2:], strict=True)
    )
    inside[..., top:bottom, left:right] = True
    return inside


def _require(holds: Tensor, otherwise: str) -> None:
    """Raise a DataError that names the images of the batch for which `holds`, bool (B, ...), is not True everywhere."""
    bad = (~holds).flatten(1).sum(1)  # (B,)
    if bad.any():
        images = bad.nonzero().flatten().tolist()
        raise DataError(f"images {images} of the batch, {int(bad.sum())} values: {otherwise}")


def depth_edges(depth: Tensor, valid: Tensor) -> Tensor:
    """Find pixels whose 5 x 5 window contains valid depths with max / min > `EDGE_RATIO`.

    Args:
        depth: (B, 1, H, W) metres.
        valid: bool (B, 1, H, W); depth elsewhere is ignored, so an invalid neighbour makes no edge.

    Returns:
        bool (B, 1, H, W).
    """
    pad = EDGE_WINDOW_PX // 2
    # The minimum is the negated maximum of -depth. Invalid pixels are -inf, as is max_pool2d's own padding; a window
    # without valid pixels then compares -inf > inf, and is no edge.
    infinity = torch.tensor(torch.inf, dtype=depth.dtype, device=depth.device)
    farthest = F.max_pool2d(torch.where(valid, depth, -infinity), EDGE_WINDOW_PX, stride=1, padding=pad)
    nearest = -F.max_pool2d(torch.where(valid, -depth, -infinity), EDGE_WINDOW_PX, stride=1, padding=pad)
    return farthest > EDGE_RATIO * nearest


def _median_scaled(prediction: Tensor, depth: Tensor, chosen: Tensor) -> Tensor:
    median = _median(prediction, chosen)
    _require((median > 0)[:, None], "the median of the prediction is not above 0, so it cannot be scaled")
    return prediction * (_median(depth, chosen) / median)[:, None]


def _median(value: Tensor, chosen: Tensor) -> Tensor:
    """Return the median of the chosen values of each row (B,): of an even number the mean of the middle two; 1 of none.

    Args:
        value: (B, P).
        chosen: bool (B, P).
    """
    rows = [row[mask] for row, mask in zip(value, chosen, strict=True)]
    ones = torch.ones((), dtype=value.dtype, device=value.device)
    return torch.stack([_middle(row) if len(row) else ones for row in rows])


def _middle(values: Tensor) -> Tensor:
    """Return the median of at least one value, without sorting them all."""
    lower, upper = ((len(values) + 1) // 2, len(values) // 2 + 1)  # ranks from 1; equal if the number is odd
    return (values.kthvalue(lower).values + values.kthvalue(upper).values) / 2


class MetricSums:
    """Sums of per-image metrics, and the number of images: exact over batches and ranks, for any number of ranks.

    For means of groups (scenes) use a dict of these; every rank must have the same keys and reduce them in the same
    order, including groups of which it had no image.
    """

    def __init__(self) -> None:
        # One tensor, so one reduction: the sum of each metric, images counted, images skipped.
        self._sums = torch.zeros(len(METRICS) + 2, dtype=torch.float64)

    def add(self, values: Tensor, counted: Tensor, weight: Tensor) -> None:
        """Add a batch.

        Args:
            values: float64 (B, 10), from `image_metrics`.
            counted: bool (B,), from `image_metrics`.
            weight: (B,), the batch's "weight": 0 for padding, which is in no sum.
        """
        real = weight.to(values.device) > 0
        taken, skipped = real & counted, real & ~counted
        sums = torch.where(taken[:, None], values, 0.0).sum(0)
        batch = torch.cat([sums, torch.stack([taken.sum(), skipped.sum()]).double()])
        self._sums = self._sums.to(values.device) + batch

    def all_reduce(self) -> None:
        """Sum over the ranks, if torch.distributed is initialised; call it once, after the last `add`."""
        if dist.is_available() and dist.is_initialized():
            if dist.get_backend() == "nccl":  # reduces CUDA tensors only; a rank without batches still has CPU sums
                self._sums = self._sums.cuda()
            dist.all_reduce(self._sums)

    @property
    def count(self) -> int:
        """Images in the means."""
        return int(self._sums[-2])

    @property
    def skipped(self) -> int:
        """Images left out for too few valid pixels."""
        return int(self._sums[-1])

    def mean(self) -> dict[str, float]:
        """Return the mean of each metric over the counted images.

        Raises:
            DataError: No image was counted.
        """
        if self.count == 0:
            raise DataError(
                f"no image has {MIN_VALID_PIXELS} valid pixels within the protocol's range ({self.skipped} images have "
                "fewer); look at the set's depth statistics with `depthstream inspect`"
            )
        return dict(zip(METRICS, (self._sums[: len(METRICS)] / self._sums[-2]).tolist(), strict=True))
