"""Sums over the depth of a training set, from which baselines are fitted: one pass over the maps, no image read.

Every image weighs the same, as in the metrics: each of its n pixels weighs 1 / n. What counts as a pixel, and as an
image, is decided by the headline protocol, mask included.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharding.format.sample import Sample
from sharding.reading.shard_set import ShardSet
from training.metrics.protocols import PROTOCOLS

MAX_ROWS = 128
"""Most rows of a profile."""

HEADLINE = PROTOCOLS["headline"]
NEAREST_M, FARTHEST_M = HEADLINE.min_depth, HEADLINE.max_depth or 0.0

# A positive float32 is 0 | 8 bits exponent | 23 bits mantissa, and sorts like its bits. Without the lowest 13 bits, 10
# bits of the mantissa are left: 1024 bins per octave, each at most 0.1 % wide.
_DROPPED_BITS = 13


def _bin(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return (values.view(np.uint32) >> _DROPPED_BITS).astype(np.int64)


_FIRST_BIN, _LAST_BIN = _bin(np.array([NEAREST_M, FARTHEST_M], np.float32)).tolist()
NUM_BINS = _LAST_BIN - _FIRST_BIN + 1


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and spread of a quantity, image by image.

    Attributes:
        mean: float64 (N, R), over the pixels of each image in each row of the profile; 0 without any.
        scatter: float64 (N,), mean squared difference of an image's pixels to the mean of their row.
    """

    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    def over_rows(self, share: NDArray[np.float64]) -> "Moments":
        """Join all rows into one; `share` (N, R) of the pixels of each image in each row."""
        mean = (share * self.mean).sum(axis=1, keepdims=True)  # (N, 1)
        between = (share * (self.mean - mean) ** 2).sum(axis=1)
        return Moments(mean=mean, scatter=self.scatter + between)


@dataclass(frozen=True, kw_only=True)
class DepthSums:
    """What baselines are fitted to: N images, R rows of relative height.

    Attributes:
        weight: float64 (R, `NUM_BINS`), weight of the pixels in each row and bin of depth; N in all.
        depth_sum: float64 (R, `NUM_BINS`), sum of their weight times metres: a bin stands for its mean depth.
        share: float64 (N, R), share of each image's pixels in each row.
        metres: Moments of depth.
        log: Moments of the natural log of depth.
        num_pixels: Pixels counted.
    """

    weight: NDArray[np.float64]
    depth_sum: NDArray[np.float64]
    share: NDArray[np.float64]
    metres: Moments
    log: Moments
    num_pixels: int

    @property
    def num_images(self) -> int:
        """Images counted."""
        return len(self.share)

    def as_one_row(self) -> "DepthSums":
        """Join all rows into one, to which a constant is fitted."""
        return DepthSums(
            weight=self.weight.sum(axis=0, keepdims=True),
            depth_sum=self.depth_sum.sum(axis=0, keepdims=True),
            share=self.share.sum(axis=1, keepdims=True),
            metres=self.metres.over_rows(self.share),
            log=self.log.over_rows(self.share),
            num_pixels=self.num_pixels,
        )


def profile_rows(height: int, num_rows: int) -> NDArray[np.int64]:
    """Return the row of the profile that each image row of `height` belongs to: int64 (height,).

    The centre of image row i is at relative height (i + 0.5) / height; row floor of that times `num_rows`, in integers.
    """
    return (2 * np.arange(height) + 1) * num_rows // (2 * height)


class DepthSummation:
    """Collector of `DepthSums`, image by image.

    Memory: 20 MB for 128 rows, and 3 KB for each image, which is 52 MB for DIODE's 16,884 outdoor views; less with
    fewer rows. While a map of 768 x 1024 is added, some 70 MB more.

    Args:
        num_rows: Rows of the profile.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows, self._num_pixels = num_rows, 0
        self._weight, self._depth_sum = np.zeros((2, num_rows * NUM_BINS))
        self._images: list[tuple[NDArray[np.float64], ...]] = []  # share, mean (R,), scatter (), twice the last two

    def add(self, depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Add a depth map, float32 (H, W) metres and bool (H, W), if it has enough valid pixels in range."""
        chosen = valid & (depth >= NEAREST_M) & (depth <= FARTHEST_M)
        if (count := int(chosen.sum())) < HEADLINE.min_pixels:
            return
        values = depth[chosen]  # float32 (n,)
        rows = np.broadcast_to(profile_rows(len(depth), self._num_rows)[:, None], depth.shape)[chosen]  # (n,)
        self._count(rows * NUM_BINS + _bin(values) - _FIRST_BIN, values, count)
        metres = values.astype(np.float64)
        in_row = np.bincount(rows, minlength=self._num_rows)
        self._images.append((in_row / count, *_moments(metres, rows, in_row), *_moments(np.log(metres), rows, in_row)))
        self._num_pixels += count

    def _count(self, bins: NDArray[np.int64], values: NDArray[np.float32], count: int) -> None:
        """Add the pixels of an image to the histograms."""
        # Over the occupied range alone, which is all of it for a map without gaps.
        first, last = int(bins.min()), int(bins.max()) + 1
        self._weight[first:last] += np.bincount(bins - first, minlength=last - first) / count
        self._depth_sum[first:last] += np.bincount(bins - first, weights=values, minlength=last - first) / count

    def sums(self) -> DepthSums:
        """Return the sums over at least one image."""
        share, metres, metres_scatter, log, log_scatter = (
            np.array(column) for column in zip(*self._images, strict=True)
        )
        shape = self._num_rows, NUM_BINS
        return DepthSums(
            weight=self._weight.reshape(shape),
            depth_sum=self._depth_sum.reshape(shape),
            share=share,
            metres=Moments(mean=metres, scatter=metres_scatter),
            log=Moments(mean=log, scatter=log_scatter),
            num_pixels=self._num_pixels,
        )

    def __len__(self) -> int:
        """Count the images that were added."""
        return len(self._images)


def _moments(
    values: NDArray[np.float64], rows: NDArray[np.int64], in_row: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the values (n,) in each row (R,), and the mean squared difference to the mean of the row."""
    mean = np.bincount(rows, weights=values, minlength=len(in_row)) / np.maximum(in_row, 1)
    return mean, np.square(values - mean[rows]).mean()


def iter_depths(samples: ShardSet, chunk: int = 16) -> Iterator[Sample]:
    """Read depth and valid of each sample in set order, not the images; a sample without them has None."""
    for start in range(0, len(samples), chunk):
        yield from samples.read(range(start, min(start + chunk, len(samples))), parts=("depth", "valid"))
