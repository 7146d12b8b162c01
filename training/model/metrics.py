"""Depth metrics: per image over valid pixels in float64, then averaged over images and ranks.

Per-image averaging is the convention of KITTI, NYU and the DIODE devkit. Ground truth is never resized and never
clipped: pixels out of range are left out. Knows nothing of networks, sets or files.
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
"""A pixel is at an edge if the valid depths of its 5 x 5 window span more than this ratio.

Our choice. DIODE's masks are liberal: its scanner interpolates between near and far surfaces, and those false depths
lie within some 2 pixels of an edge. A surface that changes by 15 % in 5 pixels by its slant alone (ground just below
the horizon) is left out too.
"""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which pixels are compared, and how.

    Attributes:
        name: Key in `PROTOCOLS`.
        min_depth: Metres; ground truth below is left out, predictions below are raised to it.
        max_depth: Metres; ground truth beyond is left out, predictions beyond are lowered to it.
        drop_edges: Leave out pixels at depth edges (`EDGE_RATIO`).
        median_scale: Multiply each prediction by median(truth) / median(prediction) of its valid pixels first: for
            comparison with scale-free methods, never the headline of a metric model.
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
"""By name: the headline (0.6 m is DIODE's least, 350 m beyond its largest depth), and the lines beside it."""


def image_metrics(prediction: Tensor, depth: Tensor, valid: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Compute all metrics of each image.

    Args:
        prediction: (B, 1, H, W) metres, finite everywhere.
        depth: float32 (B, 1, H, W) metres, read only where valid.
        valid: bool (B, 1, H, W).
        protocol: Range, edges, alignment.

    Returns:
        values: float64 (B, 10), columns as in `METRICS`; 0 where the image is not counted.
        counted: bool (B,), False for images with fewer than `MIN_VALID_PIXELS` pixels to compare.

    Raises:
        ValueError: The shapes differ, or valid is not bool.
        DataError: The prediction holds NaN or inf; a valid pixel has no depth; a median to align with is not positive.
    """
    prediction, depth = _checked(prediction, depth, valid)
    valid = valid.to(depth.device)
    chosen = valid & (depth >= protocol.min_depth) & (depth <= protocol.max_depth)
    if protocol.drop_edges:
        chosen &= ~depth_edges(depth, valid)
    prediction, depth, chosen = prediction.flatten(1), depth.flatten(1), chosen.flatten(1)  # (B, P)
    counted = chosen.sum(1) >= MIN_VALID_PIXELS
    chosen &= counted[:, None]
    if protocol.median_scale:
        prediction = _median_scaled(prediction, depth, chosen)
    prediction = prediction.clamp(protocol.min_depth, protocol.max_depth)
    return _metric_columns(prediction, depth, chosen), counted


def _checked(prediction: Tensor, depth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, depth 1 where invalid."""
    if not (prediction.ndim == 4 and prediction.shape == depth.shape == valid.shape and valid.dtype == torch.bool):
        raise ValueError(
            "prediction, depth and valid (bool) must have one and the same shape (B, 1, H, W), found "
            f"{tuple(prediction.shape)}, {tuple(depth.shape)} and {tuple(valid.shape)} {valid.dtype}"
        )
    depth = torch.where(valid, depth, 1.0)
    if prediction.device.type == "mps":  # which has no float64
        prediction, depth = prediction.cpu(), depth.cpu()
    prediction, depth = prediction.double(), depth.double()
    _require(prediction.isfinite(), "the prediction holds NaN or inf; look at the run's loss curve")
    _require(depth.isfinite() & (depth > 0), "valid pixels have a depth that is not finite and above 0")
    return prediction, depth


def _require(holds: Tensor, otherwise: str) -> None:
    """Raise a DataError that names the images of the batch where `holds` (B, ...) is not True throughout."""
    bad = (~holds).flatten(1).sum(1)  # (B,)
    if bad.any():
        images = bad.nonzero().flatten().tolist()
        raise DataError(f"images {images} of the batch, {int(bad.sum())} values: {otherwise}")


def depth_edges(depth: Tensor, valid: Tensor) -> Tensor:
    """Find pixels whose 5 x 5 window holds valid depths with max / min > `EDGE_RATIO`.

    Args:
        depth: (B, 1, H, W) metres.
        valid: bool (B, 1, H, W); depth elsewhere is not looked at, an invalid neighbour makes no edge.

    Returns:
        bool (B, 1, H, W).
    """
    pad = EDGE_WINDOW_PX // 2
    infinity = torch.tensor(torch.inf, dtype=depth.dtype, device=depth.device)
    farthest = F.max_pool2d(torch.where(valid, depth, -infinity), EDGE_WINDOW_PX, stride=1, padding=pad)
    nearest = -F.max_pool2d(torch.where(valid, -depth, -infinity), EDGE_WINDOW_PX, stride=1, padding=pad)
    return farthest > EDGE_RATIO * nearest


def _median_scaled(prediction: Tensor, depth: Tensor, chosen: Tensor) -> Tensor:
    median = _median(prediction, chosen)
    _require((median > 0)[:, None], "the median of the prediction is not above 0, it can not be aligned")
    return prediction * (_median(depth, chosen) / median)[:, None]


def _median(value: Tensor, chosen: Tensor) -> Tensor:
    """Median of the chosen values of each row, the mean of the middle two of an even number; 1 if none is chosen."""
    count = chosen.sum(1, keepdim=True)  # (B, 1)
    ordered = torch.where(chosen, value, torch.inf).sort(1).values
    middle = torch.cat([(count - 1).clamp(min=0) // 2, count // 2], 1).clamp(max=value.shape[1] - 1)  # (B, 2)
    return torch.where(count[:, 0] > 0, ordered.gather(1, middle).mean(1), 1.0)


def _metric_columns(p: Tensor, g: Tensor, chosen: Tensor) -> Tensor:
    """Metrics float64 (B, 10) of p and g, > 0 where chosen, all (B, P); 0 for a row without chosen pixels.

    With e = ln p - ln g: abs_rel mean|p-g|/g; sq_rel mean (p-g)^2/g (m); mae mean|p-g| (m); rmse sqrt(mean (p-g)^2)
    (m); rmse_log sqrt(mean e^2); log10 mean|log10 p - log10 g|; silog 100 sqrt(mean e^2 - (mean e)^2) as in KITTI;
    deltaK the share with max(p/g, g/p) < 1.25^K, strictly.
    """
    count = chosen.sum(1).clamp(min=1).double()  # (B,)
    # Where nothing is compared both become 1: every difference and logarithm is 0 there and adds nothing.
    p, g = torch.where(chosen, p, 1.0), torch.where(chosen, g, 1.0)
    off, ratio, e = (p - g).abs(), torch.maximum(p / g, g / p), (p / g).log()
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
    deltas = {f"delta{k}": ((ratio < 1.25**k) & chosen).sum(1) for k in (1, 2, 3)}
    means = {name: total / count for name, total in (sums | deltas).items()}
    roots = {name: means[name].sqrt() for name in ("rmse", "rmse_log", "silog")}
    return torch.stack([(means | roots)[name] for name in METRICS], 1)


class MetricSums:
    """Sums of per-image metrics, and the number of images: exact over batches and ranks, for any world.

    For means of groups (scenes) keep a dict of these; every rank must hold the same keys and reduce them in the same
    order, including groups it saw nothing of.
    """

    def __init__(self) -> None:
        # One tensor, one reduction: the sum of each metric, images counted, images skipped.
        self._sums = torch.zeros(len(METRICS) + 2, dtype=torch.float64)

    def add(self, values: Tensor, counted: Tensor, weight: Tensor) -> None:
        """Add a batch.

        Args:
            values: float64 (B, 10), from `image_metrics`.
            counted: bool (B,), from `image_metrics`.
            weight: (B,), the batch's "weight": 0 for padding and replaced samples, which are left out altogether.
        """
        real = weight.to(values.device) > 0
        taken, skipped = real & counted, real & ~counted
        sums = torch.where(taken[:, None], values, 0.0).sum(0)
        batch = torch.cat([sums, torch.stack([taken.sum(), skipped.sum()]).double()])
        self._sums = self._sums.to(values.device) + batch

    def all_reduce(self) -> None:
        """Sum over the ranks, if torch.distributed is initialised; call it once, after the last `add`."""
        if dist.is_available() and dist.is_initialized():
            if dist.get_backend() == "nccl":
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
        """Mean of each metric over the images.

        Raises:
            DataError: No image was counted.
        """
        if self.count == 0:
            raise DataError(
                f"no image has {MIN_VALID_PIXELS} valid pixels within the protocol's range ({self.skipped} images have "
                "fewer); look at the set's depth statistics with `depthstream inspect`"
            )
        return dict(zip(METRICS, (self._sums[: len(METRICS)] / self._sums[-2]).tolist(), strict=True))
