"""What a network must beat: predictors that ignore the image, fitted to the depth of the training set alone.

For each metric a constant and a profile by image row (outdoors, higher rows are farther away, so it is strong), each
the best of its kind by that very metric, on the training set under the headline protocol: another constant may be far
better by one metric and worse by another. So the value of a baseline by a metric is that of the predictor fitted for
it. Independent of validation sets.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharding.errors import DataError
from sharding.format.strict_json import Count, Text
from sharding.machine.files import write_atomically
from sharding.progress import say, track
from sharding.reading.shard_set import ShardSet
from training.baselines.depth_sums import MAX_ROWS, DepthSummation, iter_depths, profile_rows
from training.baselines.fits import fit_profiles
from training.baselines.names import CONSTANT, ROW
from training.metrics.kinds import require_metres
from training.metrics.protocols import METRICS
from training.run_files import read_json

BASELINES_FORMAT = 2
"""Version of the JSON format of fitted baselines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowBaseline:
    """A predictor of one depth for each part of the image's height.

    Images of different heights are matched by relative height: see `profile_rows`. A constant has a single row.

    Attributes:
        depth_m: Metres of each row of the profile, from the top; finite and above 0.
    """

    depth_m: tuple[float, ...]

    def profile(self, height: int) -> NDArray[np.float64]:
        """Return metres by image row: float64 (height,)."""
        return np.array(self.depth_m)[profile_rows(height, len(self.depth_m))]

    def predict_depth(self, image: Tensor) -> Tensor:
        """Predict the profile in every column.

        Args:
            image: (B, C, H, W); only its shape and device are used.

        Returns:
            float32 (B, 1, H, W), metres.
        """
        batch, _, height, width = image.shape
        metres = torch.from_numpy(self.profile(height).astype(np.float32))  # (H,)
        return metres.to(image.device).view(1, 1, height, 1).expand(batch, 1, height, width).clone()


def constant_baseline(depth_m: float) -> RowBaseline:
    """Return the predictor of one depth everywhere, in metres."""
    return RowBaseline(depth_m=(depth_m,))


Fitted = Mapping[str, RowBaseline]
"""A baseline: for each metric of METRICS the predictor that was fitted for it."""


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Both baselines of one training set.

    Attributes:
        constant: The best constants.
        row: The best profiles by row.
        identity: Identity of the training set.
        where: The subset of it that was used, a condition on the index; None means all.
        samples: SHA-256 of the row numbers of that subset in the whole set, hexadecimal.
        num_images: Images fitted to: those with enough valid pixels.
        num_pixels: Valid pixels used.
    """

    constant: Fitted
    row: Fitted
    identity: str
    where: str | None
    samples: str
    num_images: int
    num_pixels: int

    @property
    def by_name(self) -> dict[str, Fitted]:
        """Return both by their names."""
        return {CONSTANT: self.constant, ROW: self.row}

    @property
    def fingerprint(self) -> str:
        """Hash of everything, by which a stored evaluation is recognised."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()

    def describe(self, name: str, metric: str) -> str:
        """Describe in words what the baseline of a name predicts where a metric is measured."""
        profile = self.by_name[name][metric].depth_m
        to = f"{self.num_pixels:,} valid pixels of {self.num_images:,} training images"
        if name == CONSTANT:
            return f"the best constant for each metric on the {to}: {profile[0]:.4g} m for {metric}"
        ends = f"{profile[0]:.4g} m at the top, {profile[-1]:.4g} m at the bottom for {metric}"
        return f"the best depth of each image row for each metric on the {to}: {ends}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `load` reads back without loss."""
        return {
            "format": BASELINES_FORMAT,
            "identity": self.identity,
            "where": self.where,
            "samples": self.samples,
            "num_images": self.num_images,
            "num_pixels": self.num_pixels,
            **{
                name: {metric: list(one.depth_m) for metric, one in fitted.items()}
                for name, fitted in self.by_name.items()
            },
        }

    @classmethod
    def load(cls, file: Path) -> "Baselines":
        """Read a file that `load_or_fit` wrote.

        Raises:
            DataError: It has another version, or lacks an entry, or one is not as it should be.
        """
        if (version := read_json(file, _Version).format) != BASELINES_FORMAT:
            raise DataError(f"{file}: expected baselines of format {BASELINES_FORMAT}, found {version}; {_DELETE}")
        data = read_json(file, _File)
        for name, fitted in ((CONSTANT, data.constant), (ROW, data.row)):
            if fitted.keys() != set(METRICS):
                raise DataError(f"{file}: {name}: expected an entry for each of {', '.join(METRICS)}; {_DELETE}")
            if not all(math.isfinite(depth) for profile in fitted.values() for depth in profile):
                raise DataError(f"{file}: {name}: expected finite depths, found others; {_DELETE}")
        return cls(
            constant=_predictors(data.constant),
            row=_predictors(data.row),
            identity=data.identity,
            where=data.where,
            samples=data.samples,
            num_images=data.num_images,
            num_pixels=data.num_pixels,
        )


_DELETE = "delete the file to compute them again"

_Profiles = dict[
    str, Annotated[list[Annotated[float, msgspec.Meta(gt=0)]], msgspec.Meta(min_length=1, max_length=1024)]
]


class _Version(msgspec.Struct):
    format: int


class _File(msgspec.Struct):
    """What is read of the file of fitted baselines."""

    identity: Text
    where: Text | None
    samples: Text
    num_images: Count
    num_pixels: Count
    constant: _Profiles
    row: _Profiles


def _predictors(profiles: Mapping[str, Any]) -> dict[str, RowBaseline]:
    return {metric: RowBaseline(depth_m=tuple(map(float, profiles[metric]))) for metric in METRICS}


def _rows_used(samples: ShardSet) -> str:
    return hashlib.sha256(samples.ids.astype("<i8").tobytes()).hexdigest()


def fit_baselines(train: ShardSet) -> Baselines:
    """Fit both baselines to the depth of a training set, in one pass over its maps.

    The profile has as many rows as the most common image height, at most `MAX_ROWS`. Memory: `DepthSummation`;
    accuracy: `training.baselines.fits`.

    Args:
        train: Training set, or the subset of it that the arms were trained on.

    Raises:
        DataError: No image has enough valid depth within the headline's range.
        UsageError: The depth of the set is not in metres.
    """
    require_metres(train)
    summation = DepthSummation(min(MAX_ROWS, int(train.rows["height"].mode().iloc[0])))
    for sample in track(iter_depths(train), total=len(train), unit="images", label="baselines"):
        if sample.depth is not None and sample.valid is not None:
            summation.add(sample.depth, sample.valid)
    if not len(summation):
        raise DataError(f"baselines need depth, but none of the {len(train)} images of {train.url} has enough of it")
    sums = summation.sums()
    return Baselines(
        constant=_predictors(fit_profiles(sums.as_one_row())),
        row=_predictors(fit_profiles(sums)),
        identity=train.manifest.identity,
        where=train.where,
        samples=_rows_used(train),
        num_images=sums.num_images,
        num_pixels=sums.num_pixels,
    )


def load_or_fit(train: ShardSet, file: Path) -> Baselines:
    """Read the baselines of `train` from `file` if it contains them; otherwise compute them and write the file.

    Args:
        train: Training set or subset.
        file: JSON file, such as RUN/baselines.json; one of an earlier version is replaced.

    Raises:
        DataError: The file is not a JSON object of baselines, or is of a later version; or as `fit_baselines`.
        UsageError: The depth of the set is not in metres.
    """
    if file.exists() and read_json(file, _Version).format >= BASELINES_FORMAT:
        found = Baselines.load(file)
        if (found.identity, found.samples) == (train.manifest.identity, _rows_used(train)):
            return found
    fitted = fit_baselines(train)
    try:
        write_atomically(file, (json.dumps(fitted.to_json(), indent=1) + "\n").encode())
    except OSError as error:  # they are computed again next time
        say(f"{file}: the baselines cannot be kept: {error.strerror}")
    return fitted
