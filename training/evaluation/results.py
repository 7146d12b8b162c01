"""Result of an evaluation: one row for each image and protocol, and the means that follow from the rows.

Metrics are computed per image over its valid pixels, then averaged over images, all with the same weight. This module
writes and reads results as JSON, and checks whether a file still matches a predictor, set and protocols; it computes no
metric.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.format.strict_json import Count, Text, to_type
from sharding.machine.files import write_atomically
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.model.metrics import METRICS, PROTOCOLS
from training.run_files import read_json

EVALUATION_FORMAT = 2
"""Version of the JSON format."""


@dataclass(frozen=True, kw_only=True)
class SetInfo:
    """The set, or subset, that was used.

    Attributes:
        name: Name of the set.
        split: Split it was made from, such as "val".
        url: Folder or URL it was read from.
        identity: Hash of its content.
        where: Subset, a condition on the index; None means all.
        images: Samples of the subset.
        scenes: Scenes of the subset.
    """

    name: Text
    split: Text
    url: Text
    identity: Text
    where: Text | None
    images: Count
    scenes: Count

    @classmethod
    def of(cls, samples: ShardSet) -> "SetInfo":
        """Describe an open set."""
        return cls(
            name=samples.manifest.name,
            split=samples.manifest.split,
            url=str(samples.url),
            identity=samples.manifest.identity,
            where=samples.where,
            images=len(samples),
            scenes=int(samples.index["scene"].nunique()),
        )

    @property
    def key(self) -> tuple[str, str | None]:
        """Identity and query, which decide whether it is the same subset; name and URL do not matter."""
        return self.identity, self.where

    def describe(self) -> str:
        """Describe name, subset, counts and identity in one line."""
        subset = f", where {self.where}" if self.where else ""
        return f"{self.name}{subset}: {self.images} images of {self.scenes} scenes (identity {self.identity[:12]})"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of one predictor on one set.

    Attributes:
        predictor: Display name of the predictor.
        fingerprint: SHA-256 of the checkpoint, or of the fitted baselines.
        set: The set it was evaluated on.
        device: What computed the predictions, as `describe_device` names it.
        table: One row for each protocol and image that was counted (in set order): protocol, key, scene, and METRICS.
        precision: Number format of the predictions; float32 is without TF32.
    """

    predictor: str
    fingerprint: str
    set: SetInfo
    device: str
    table: pd.DataFrame
    precision: str = "float32"

    def rows(self, protocol: str) -> pd.DataFrame:
        """Select the images counted under a protocol: scene and METRICS, indexed by key."""
        return self.table[self.table["protocol"] == protocol].drop(columns="protocol").set_index("key")

    def counted(self, protocol: str) -> int:
        """Count the images with enough valid pixels under the protocol; the others of the set were skipped."""
        return int((self.table["protocol"] == protocol).sum())

    def mean(self, protocol: str) -> dict[str, float]:
        """Average each metric over the counted images; empty without counted images."""
        rows = self.rows(protocol)
        return {metric: float(rows[metric].mean()) for metric in METRICS} if len(rows) else {}

    def scenes(self, protocol: str) -> dict[str, dict[str, float]]:
        """Average each metric over the counted images of each scene; `images` is their number."""
        groups = self.rows(protocol).groupby("scene", sort=True)
        return {
            str(scene): {"images": len(rows)} | {metric: float(rows[metric].mean()) for metric in METRICS}
            for scene, rows in groups
        }

    def summary(self) -> dict[str, Any]:
        """Return everything but the per-image rows, as a JSON object."""
        return {
            "predictor": self.predictor,
            "fingerprint": self.fingerprint,
            "set": asdict(self.set),
            "device": self.device,
            "precision": self.precision,
            "metrics": {name: self.mean(name) for name in PROTOCOLS},
            "counted": {name: self.counted(name) for name in PROTOCOLS},
            "skipped": {name: self.set.images - self.counted(name) for name in PROTOCOLS},
            "scenes": {name: self.scenes(name) for name in PROTOCOLS},
        }

    def save(self, file: Path) -> OSError | None:
        """Write the summary, the protocols and the per-image rows as JSON, atomically.

        Returns:
            Why it is not possible, if it is not: the caller has the result, and hours of computing are not lost.
        """
        rows = {str(name): column.tolist() for name, column in self.table.items()}
        data = {"format": EVALUATION_FORMAT, **self.summary(), "protocols": protocol_definitions(), "rows": rows}
        try:
            write_atomically(file, (json.dumps(data, indent=1) + "\n").encode())
        except OSError as error:
            say(f"{file}: the evaluation cannot be kept: {error.strerror}")
            return error
        return None

    @classmethod
    def load(cls, file: Path) -> "Evaluation":
        """Read a file that `save` wrote.

        Raises:
            DataError: The file is not an evaluation of this version, or was made under other protocols.
        """
        data = read_json(file, _File)
        if data.format != EVALUATION_FORMAT or data.protocols != protocol_definitions():
            raise DataError(f"{file} was written by another version of this program; evaluate again")
        return cls(
            predictor=data.predictor,
            fingerprint=data.fingerprint,
            set=data.set,
            device=data.device,
            precision=data.precision,
            table=_read_rows(file, data.rows),
        )


def _read_rows(file: Path, rows: dict[str, list[Any]]) -> pd.DataFrame:
    """Check the rows of a file and make the table of them."""
    texts = {
        name: to_type(rows.get(name), list[Text], str(file), f"rows.{name}") for name in ("protocol", "key", "scene")
    }
    numbers = {name: to_type(rows.get(name), list[float], str(file), f"rows.{name}") for name in METRICS}
    if len({*map(len, texts.values()), *map(len, numbers.values())}) > 1:
        raise DataError(f"{file}: rows: expected columns of one length, found others; evaluate again")
    if strange := sorted(set(texts["protocol"]) - set(PROTOCOLS)):
        found = shorten(escape(strange[0]), 60)
        raise DataError(f"{file}: rows: expected the protocols {', '.join(PROTOCOLS)}, found {found}; evaluate again")
    if not all(np.isfinite(column).all() for column in numbers.values()):
        raise DataError(f"{file}: rows: expected finite metrics, found others; evaluate again")
    return pd.DataFrame({**texts, **{name: np.array(column, np.float64) for name, column in numbers.items()}})


class _File(msgspec.Struct):
    """What is read of a file that `Evaluation.save` wrote."""

    format: int
    protocols: dict[str, dict[str, Any]]
    predictor: Text
    fingerprint: Text
    set: SetInfo
    device: Text
    precision: Text
    rows: dict[str, list[Any]]


def protocol_definitions() -> dict[str, dict[str, Any]]:
    """Return the parameters of every protocol, by name."""
    return {name: asdict(protocol) for name, protocol in PROTOCOLS.items()}


def load_matching(file: Path, fingerprint: str, samples: ShardSet, device: str) -> Evaluation | None:
    """Read the evaluation in `file` if it is that of this predictor on this subset and device; otherwise return None.

    Args:
        file: File of the evaluation; may be missing.
        fingerprint: Fingerprint of the current predictor.
        samples: The current set.
        device: The current device, as `describe_device` names it: numbers of several devices are never compared.
    """
    if not file.exists():
        return None
    try:
        found = Evaluation.load(file)
    except DataError:
        return None  # another version, or damaged: a cache miss
    about = found.fingerprint, found.set.key, found.set.images, found.device
    same = about == (fingerprint, SetInfo.of(samples).key, len(samples), device)
    return found if same and _is_about(found, samples) else None


def _is_about(evaluation: Evaluation, samples: ShardSet) -> bool:
    """Tell whether each row is of a sample of the set, at most once for each protocol."""
    places = evaluation.table[["protocol", "key"]]
    return bool(places["key"].isin(set(samples.index["key"])).all()) and not places.duplicated().any()
