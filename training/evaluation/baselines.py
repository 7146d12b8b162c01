"""What a network must beat: two predictors that ignore the image, computed from the training set alone.

The constant baseline predicts the median of all valid training depths. The row baseline predicts the mean log depth of
the image row: outdoors, higher rows are farther away, so it is strong. Both are fitted in one pass over the training
depths (no image is read), in memory that does not grow with the set. Independent of validation sets and metrics.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharding.errors import DataError
from sharding.format.sample import Sample
from sharding.format.strict_json import Count, Text
from sharding.machine.files import write_atomically
from sharding.progress import say, track
from sharding.reading.shard_set import ShardSet
from training.run_files import read_json

BASELINES_FORMAT = 1
"""Version of the JSON format of fitted baselines."""

# A positive float32 is 0 | 8 bits exponent | 23 bits mantissa. Without the sign bit and the lowest 11 bits, 20 bits are
# left: 8 of the exponent and 12 of the mantissa, so 2^12 = 4096 bins per octave.
_DROPPED_BITS = 11
_NUM_BINS = 1 << (31 - _DROPPED_BITS)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstantBaseline:
    """A predictor of one depth everywhere.

    Attributes:
        depth_m: Metres; the median over all valid pixels of the training set.
    """

    depth_m: float

    def predict_depth(self, image: Tensor) -> Tensor:
        """Predict the constant.

        Args:
            image: uint8 (B, 3, H, W); only its shape and device are used.

        Returns:
            float32 (B, 1, H, W), metres.
        """
        batch, _, height, width = image.shape
        return torch.full((batch, 1, height, width), self.depth_m, dtype=torch.float32, device=image.device)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowBaseline:
    """A predictor of the geometric mean depth that each image row had in training.

    Rows of images of different heights are matched by relative height: the centre of row i of H is at (i + 0.5) / H.

    Attributes:
        log_depth: Natural log of metres for each row of the profile, from the top; finite.
    """

    log_depth: tuple[float, ...]

    def profile(self, height: int) -> NDArray[np.float64]:
        """Interpolate the training profile linearly to `height` rows: natural log of metres, float64 (height,)."""
        # Centres of the image rows in units of profile rows, where profile row k has its centre at k.
        rows = (np.arange(height) + 0.5) / height * len(self.log_depth) - 0.5
        profile: NDArray[np.float64] = np.interp(rows, np.arange(len(self.log_depth)), np.array(self.log_depth))
        return profile

    def predict_depth(self, image: Tensor) -> Tensor:
        """Predict the profile in every column.

        Args:
            image: uint8 (B, 3, H, W); only its shape and device are used.

        Returns:
            float32 (B, 1, H, W), metres.
        """
        batch, _, height, width = image.shape
        metres = torch.from_numpy(np.exp(self.profile(height)).astype(np.float32))  # (H,)
        return metres.to(image.device).view(1, 1, height, 1).expand(batch, 1, height, width).clone()


@dataclass(frozen=True, kw_only=True, slots=True)
class Baselines:
    """Both baselines of one training set.

    Attributes:
        constant: The constant median.
        row: The mean log depth of each image row.
        identity: Identity of the training set.
        where: The subset of it that was used, a condition on the index; None means all.
        num_images: Images of the training set.
        num_pixels: Valid pixels used.
    """

    constant: ConstantBaseline
    row: RowBaseline
    identity: str
    where: str | None
    num_images: int
    num_pixels: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `load` reads back without loss."""
        return {
            "format": BASELINES_FORMAT,
            "identity": self.identity,
            "where": self.where,
            "num_images": self.num_images,
            "num_pixels": self.num_pixels,
            "constant_median_m": self.constant.depth_m,
            "row_mean_log_depth": list(self.row.log_depth),
        }

    @classmethod
    def load(cls, file: Path) -> "Baselines":
        """Read a file that `load_or_fit` wrote.

        Raises:
            DataError: It has another version, or lacks an entry, or one is not as it should be.
        """
        data = read_json(file, _File)
        if data.format != BASELINES_FORMAT:
            raise DataError(f"{file}: expected baselines of format {BASELINES_FORMAT}, found {data.format}; {_DELETE}")
        if not all(map(math.isfinite, (data.constant_median_m, *data.row_mean_log_depth))):
            raise DataError(f"{file}: expected finite baselines, found others; {_DELETE}")
        return cls(
            constant=ConstantBaseline(depth_m=data.constant_median_m),
            row=RowBaseline(log_depth=tuple(data.row_mean_log_depth)),
            identity=data.identity,
            where=data.where,
            num_images=data.num_images,
            num_pixels=data.num_pixels,
        )


_DELETE = "delete the file to compute them again"


class _File(msgspec.Struct):
    """What is read of the file of fitted baselines."""

    format: int
    identity: Text
    where: Text | None
    num_images: Count
    num_pixels: Count
    constant_median_m: Annotated[float, msgspec.Meta(gt=0)]
    row_mean_log_depth: Annotated[list[float], msgspec.Meta(min_length=1, max_length=1 << 16)]


class DepthHistogram:
    """A histogram that finds the median of any number of positive float32 values in 16 MiB.

    Positive floats sort like their bit patterns, so the upper 20 bits after the sign are the bin of a value: 4096 bins
    per octave. A bin stores count and sum, and represents its values by their mean. So the result is exact where a bin
    has one distinct value, and otherwise off by less than the width of a bin, 1/4096 = 0.025 %.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_NUM_BINS, np.int64)
        self._sums = np.zeros(_NUM_BINS, np.float64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count `values`: float32 (n,), positive and finite."""
        bins = values.view(np.uint32) >> _DROPPED_BITS  # (n,)
        # bincount over the occupied range alone: its result would otherwise have a million bins for every image.
        first, last = int(bins.min(initial=_NUM_BINS)), int(bins.max(initial=0)) + 1
        if values.size:
            self._counts[first:last] += np.bincount(bins - first, minlength=last - first)
            self._sums[first:last] += np.bincount(bins - first, weights=values, minlength=last - first)

    def median(self) -> float:
        """Return the median of at least one value: of an even number the mean of the middle two."""
        ends = np.cumsum(self._counts)  # values up to and including each bin
        middle = np.array([(ends[-1] - 1) // 2, ends[-1] // 2])  # ranks from 0; equal if the number is odd
        bins = np.searchsorted(ends, middle, side="right")  # (2,), the bins that hold the middle two
        return float(np.mean(self._sums[bins] / self._counts[bins]))


@dataclass
class RowMeans:
    """Sums of log depth by row at relative height.

    Attributes:
        num_rows: Rows of the profile.
    """

    num_rows: int
    _sums: NDArray[np.float64] = field(init=False)
    _counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._sums = np.zeros(self.num_rows)
        self._counts = np.zeros(self.num_rows, np.int64)

    def add(self, depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Add a depth map: float32 (H, W) metres and bool (H, W)."""
        height = depth.shape[0]
        # Profile row of each image row: floor((i + 0.5) / H * num_rows), in exact integers.
        rows = (2 * np.arange(height) + 1) * self.num_rows // (2 * height)
        log_depth = np.zeros(depth.shape, np.float64)
        np.log(depth, out=log_depth, where=valid, dtype=np.float64)
        # add.at, because several image rows may fall into one row of the profile; += would add only one of them.
        np.add.at(self._sums, rows, log_depth.sum(axis=1))
        np.add.at(self._counts, rows, valid.sum(axis=1))

    def means(self) -> NDArray[np.float64]:
        """Return the means, natural log of metres, float64 (num_rows,).

        A row without valid pixels takes the mean of the nearest row that has some, of two equally near ones the upper.
        At least one pixel must have been valid.
        """
        seen = np.flatnonzero(self._counts)
        # (num_rows, rows with valid pixels) distances; argmin takes the first, so the upper, of equal ones.
        nearest = seen[np.abs(np.arange(self.num_rows)[:, None] - seen[None, :]).argmin(axis=1)]
        means: NDArray[np.float64] = self._sums[nearest] / self._counts[nearest]
        return means


def _iter_depths(train: ShardSet, chunk: int = 16) -> Iterator[Sample]:
    for start in range(0, len(train), chunk):
        yield from train.read(range(start, min(start + chunk, len(train))), parts=("depth", "valid"))


def fit_baselines(train: ShardSet) -> Baselines:
    """Compute both baselines from the depth of a training set, in one pass.

    The profile has as many rows as the most common image height.

    Args:
        train: Training set, or the subset of it that the arms were trained on.

    Raises:
        DataError: No pixel of the set has depth.
    """
    histogram, num_pixels = DepthHistogram(), 0
    rows = RowMeans(int(train.index["height"].mode().iloc[0])) if len(train) else RowMeans(1)
    for sample in track(_iter_depths(train), total=len(train), unit="images", label="baselines"):
        if sample.depth is None or sample.valid is None:
            continue
        histogram.add(sample.depth[sample.valid])
        rows.add(sample.depth, sample.valid)
        num_pixels += int(sample.valid.sum())
    if num_pixels == 0:
        raise DataError(f"baselines need depth, but no pixel of the {len(train)} samples of {train.url} is valid")
    return Baselines(
        constant=ConstantBaseline(depth_m=histogram.median()),
        row=RowBaseline(log_depth=tuple(rows.means().tolist())),
        identity=train.manifest.identity,
        where=train.where,
        num_images=len(train),
        num_pixels=num_pixels,
    )


def load_or_fit(train: ShardSet, file: Path) -> Baselines:
    """Read the baselines of `train` from `file` if it contains them; otherwise compute them and write the file.

    Args:
        train: Training set or subset.
        file: JSON file, such as RUN/baselines.json.

    Raises:
        DataError: The file is not a JSON object of baselines, or no pixel of the set has depth.
    """
    if file.exists():
        found = Baselines.load(file)
        if (found.identity, found.where) == (train.manifest.identity, train.where):
            return found
    fitted = fit_baselines(train)
    try:
        write_atomically(file, (json.dumps(fitted.to_json(), indent=1) + "\n").encode())
    except OSError as error:  # they are computed again next time
        say(f"{file}: the baselines cannot be kept: {error.strerror}")
    return fitted
