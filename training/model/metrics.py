"""Depth metrics: per image over valid pixels in float64, then averaged over images and ranks.

Per-image averaging is the convention of KITTI, NYU and the DIODE devkit. Ground truth is never resized and never
clipped: pixels out of range are left out. Independent of networks, sets and files.
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sharding.errors import DataError

METRICS = ("abs_rel", "sq_rel", "mae", "rmse", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3")
"""Names of the metrics, in the order of their columns."""

MIN_VALID_PIXELS = 10
"""Images with fewer valid pixels are not counted."""

EDGE_WINDOW_PX = 5
EDGE_RATIO = 1.15
"""A pixel is at an edge if the largest / least valid depth of its 5 x 5 window exceeds this ratio.

A choice of this project, because DIODE's masks are liberal: false depths between a near and a far surface ("flying
pixels") count as valid. The window reaches 2 pixels to each side. A steeply slanted surface that changes by 15 % within
5 pixels (ground just below the horizon) is left out too.
"""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which pixels are compared, and how.

    Attributes:
        name: Key in `PROTOCOLS`.
        min_depth: Metres; ground truth below is left out, predictions below are raised to it.
        max_depth: Metres; ground truth beyond is left out, predictions beyond are lowered to it.
        drop_edges: Leave out pixels at depth edges (`EDGE_RATIO`).
        median_scale: First multiply each prediction by median(truth) / median(prediction) over the compared pixels, as
            monodepth2 does: for comparison with scale-free methods, not for the headline of a metric model.
    """

    name: str
    min_depth: float = 0.6
    max_depth: float = 350.0
    drop_edges: bool = False
    median_scale: bool = False


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="headline"),
        Protocol(name="cap80", max_depth=80.0),
        Protocol(name="edge_cleaned", drop_edges=True),
        Protocol(name="median_scaled", median_scale=True),
    )
}
"""By name: the headline (0.6 to 350 m is the range of DIODE's scanner), and the variants reported next to it."""


def image_metrics(prediction: Tensor, depth: Tensor, valid: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Compute all metrics of each image.

    Args:
        prediction: (B, 1, H, W) metres, finite everywhere.
        depth: float32 (B, 1, H, W) metres, read only where valid.
        valid: bool (B, 1, H, W).
        protocol: Which pixels are compared, and how.

    Returns:
        values: float64 (B, 10), columns as in `METRICS`; 0 where the image is not counted.
        counted: bool (B,), False for images with fewer than `MIN_VALID_PIXELS` pixels to compare.

    Raises:
        ValueError: The shapes differ, or valid is not bool.
        DataError: The prediction contains NaN or inf; a valid depth is not finite and positive; the median to scale by
            is not positive.
    """
    prediction, depth = _checked(prediction, depth, valid)
    valid = valid.to(depth.device)  # from mps to the CPU, as `_checked` moved the others
    chosen = valid & (depth >= protocol.min_depth) & (depth <= protocol.max_depth)
    if protocol.drop_edges:
        chosen &= ~depth_edges(depth, valid)
    prediction, depth, chosen = prediction.flatten(1), depth.flatten(1), chosen.flatten(1)  # (B, P)
    counted = chosen.sum(1) >= MIN_VALID_PIXELS
    chosen &= counted[:, None]  # so that all metrics of other images are 0
    if protocol.median_scale:
        prediction = _median_scaled(prediction, depth, chosen)
    prediction = prediction.clamp(protocol.min_depth, protocol.max_depth)
    return _metric_columns(prediction, depth, chosen), counted


def _checked(prediction: Tensor, depth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return prediction and depth in float64, depth 1 where invalid."""
    if not (prediction.ndim == 4 and prediction.shape == depth.shape == valid.shape and valid.dtype == torch.bool):
        raise ValueError(
            "prediction, depth and valid (bool) must have the same shape (B, 1, H, W), found "
            f"{tuple(prediction.shape)}, {tuple(depth.shape)} and {tuple(valid.shape)} {valid.dtype}"
        )
    depth = torch.where(valid, depth, 1.0)
    if prediction.device.type == "mps":  # which has no float64
        prediction, depth = prediction.cpu(), depth.cpu()
    prediction, depth = prediction.double(), depth.double()
    _require(prediction.isfinite(), "the prediction contains NaN or inf; look at the run's loss curve")
    _require(depth.isfinite() & (depth > 0), "valid pixels have a depth that is not finite and above 0")
    return prediction, depth


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
    count = chosen.sum(1, keepdim=True)  # (B, 1)
    ordered = torch.where(chosen, value, torch.inf).sort(1).values  # chosen values first
    middle = torch.cat([(count - 1).clamp(min=0) // 2, count // 2], 1).clamp(max=value.shape[1] - 1)  # (B, 2)
    return torch.where(count[:, 0] > 0, ordered.gather(1, middle).mean(1), 1.0)


def _metric_columns(p: Tensor, g: Tensor, chosen: Tensor) -> Tensor:
    """Compute the metrics, float64 (B, 10), of prediction p and truth g; 0 for a row without chosen pixels.

    With e = ln p - ln g and means over the chosen pixels:

        abs_rel   mean |p - g| / g         rmse_log  sqrt(mean e^2)
        sq_rel    mean (p - g)^2 / g (m)   log10     mean |log10 p - log10 g|
        mae       mean |p - g| (m)         silog     100 sqrt(mean e^2 - (mean e)^2)
        rmse      sqrt(mean (p - g)^2) (m) deltaK    share with max(p / g, g / p) < 1.25^K, strictly

    Source: the evaluation code of monodepth2, NeWCRFs and ZoeDepth; silog with its factor 100 as on KITTI. The DIODE
    devkit's log_rmse uses log10: times ln 10 it is rmse_log.

    Args:
        p: Prediction (B, P), > 0 where chosen.
        g: Truth (B, P), > 0 where chosen.
        chosen: bool (B, P).
    """
    count = chosen.sum(1).clamp(min=1).double()  # (B,)
    # Both become 1 where not chosen: differences and logarithms are 0 there and add nothing to the sums.
    p, g = torch.where(chosen, p, 1.0), torch.where(chosen, g, 1.0)
    off, ratio, e = (p - g).abs(), torch.maximum(p / g, g / p), (p / g).log()
    # e minus its mean before squaring: mean e^2 - (mean e)^2 would cancel when the scale is far off.
    spread = torch.where(chosen, e - (e.sum(1) / count)[:, None], 0.0)
    sums = {
        "abs_rel": (off / g).sum(1),
        "sq_rel": (off.square() / g).sum(1),
        "mae": off.sum(1),
        "rmse": off.square().sum(1),
        "rmse_log": e.square().sum(1),
        "log10": e.abs().sum(1) / math.log(10),
        "silog": spread.square().sum(1) * 100**2,
    }
    # The ratio is 1 where not chosen, which would count as correct without `& chosen`.
    deltas = {f"delta{k}": ((ratio < 1.25**k) & chosen).sum(1) for k in (1, 2, 3)}
    means = {name: total / count for name, total in (sums | deltas).items()}
    roots = {name: means[name].sqrt() for name in ("rmse", "rmse_log", "silog")}
    return torch.stack([(means | roots)[name] for name in METRICS], 1)


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
