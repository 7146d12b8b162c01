"""Result of an evaluation: one row for each image and protocol, and the means that follow from the rows.

Metrics are computed per image over its valid pixels, then averaged over images, all with the same weight. This module
writes and reads results as JSON, and checks whether a file still matches a predictor, set and protocols; it computes no
metric.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.format.strict_json import Count, Text, to_type
from sharding.machine.files import write_atomically
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.depth_options import ProtocolChoice
from training.metrics.kinds import without_depth
from training.metrics.names import PROTOCOL, PROTOCOL_NAMES, columns_of
from training.metrics.protocols import METRICS, PROTOCOLS, Protocol, Protocols
from training.run_files import read_json

EVALUATION_FORMAT = 3
"""Version of the JSON format."""

ORIGINS = ("scene", "scan", "scene_type")
"""Columns of an image's origin, as in the index of its set."""

Means = dict[str, dict[str, float]]
"""By scene, scan or scene type: `images`, their number, and the mean of each metric over them."""


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
        without_depth: Samples of the subset without any valid pixel.
    """

    name: Text
    split: Text
    url: Text
    identity: Text
    where: Text | None
    images: Count
    scenes: Count
    without_depth: Count = 0

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
            scenes=int(samples.rows["scene"].nunique()),
            without_depth=int(without_depth(samples).sum()),
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
        table: One row for each protocol and image that was counted (in set order): protocol, key, `ORIGINS`, and
            METRICS, which protocols of others rename (`columns_of`).
        precision: Number format of the predictions; float32 is without TF32.
        choice: The value of `--protocol`.
        protocols: The protocols it was made under.
    """

    predictor: str
    fingerprint: str
    set: SetInfo
    device: str
    table: pd.DataFrame
    precision: str = "float32"
    choice: ProtocolChoice = "ours"
    protocols: Protocols = field(default_factory=lambda: PROTOCOLS)

    @property
    def primary(self) -> str:
        """Name of the protocol that comes first: the headline where there is one."""
        return PROTOCOL if PROTOCOL in self.protocols else next(iter(self.protocols))

    def rows(self, protocol: str) -> pd.DataFrame:
        """Select the images counted under a protocol: `ORIGINS` and its metrics, indexed by key."""
        found = self.table[self.table["protocol"] == protocol].set_index("key")
        columns = columns_of(self.protocols[protocol])
        metrics = {column.name: found[column.metric] * column.factor for column in columns}
        return pd.DataFrame({**{name: found[name] for name in ORIGINS}, **metrics})

    def counted(self, protocol: str) -> int:
        """Count the images with enough valid pixels under the protocol; the others of the set were skipped."""
        return int((self.table["protocol"] == protocol).sum())

    def skipped(self, protocol: str) -> int:
        """Count the images with too few valid pixels under the protocol."""
        return self.set.images - self.counted(protocol)

    def mean(self, protocol: str) -> dict[str, float]:
        """Average each metric over the counted images; empty without counted images."""
        rows = self.rows(protocol)
        return _means(rows) if len(rows) else {}

    def scenes(self, protocol: str) -> Means:
        """Average each metric over the counted images of each scene."""
        rows = self.rows(protocol)
        return _grouped(rows, rows["scene"])

    def scans(self, protocol: str) -> Means:
        """Average over the counted images of each scan, named SCENE/SCAN; empty for sets without scans."""
        rows = self.rows(protocol)
        rows = rows[rows["scan"] != ""]
        return _grouped(rows, rows["scene"] + "/" + rows["scan"])

    def scene_types(self, protocol: str) -> Means:
        """Average over the counted images of each scene type, such as "outdoor"; empty for sets without types."""
        rows = self.rows(protocol)
        rows = rows[rows["scene_type"] != ""]
        return _grouped(rows, rows["scene_type"])

    def definitions(self) -> dict[str, str]:
        """Return the definition of each protocol in words."""
        return {name: PROTOCOL_NAMES[name].definition(protocol) for name, protocol in self.protocols.items()}

    def summary(self) -> dict[str, Any]:
        """Return everything but the per-image rows, as a JSON object."""
        return {
            "predictor": self.predictor,
            "fingerprint": self.fingerprint,
            "protocol": self.choice,
            "definitions": self.definitions(),
            "set": asdict(self.set),
            "device": self.device,
            "precision": self.precision,
            "metrics": {name: self.mean(name) for name in self.protocols},
            "counted": {name: self.counted(name) for name in self.protocols},
            "skipped": {name: self.skipped(name) for name in self.protocols},
            "scenes": {name: self.scenes(name) for name in self.protocols},
            "scans": {name: self.scans(name) for name in self.protocols},
            "scene_types": {name: self.scene_types(name) for name in self.protocols},
        }

    def save(self, file: Path) -> OSError | None:
        """Write the summary, the protocols and the per-image rows as JSON, atomically.

        Returns:
            Why it is not possible, if it is not: the caller has the result, and hours of computing are not lost.
        """
        rows = {str(name): column.tolist() for name, column in self.table.items()}
        protocols = {name: asdict(protocol) for name, protocol in self.protocols.items()}
        data = {"format": EVALUATION_FORMAT, **self.summary(), "protocols": protocols, "rows": rows}
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
            DataError: The file is not an evaluation of this version.
        """
        if read_json(file, _Version).format != EVALUATION_FORMAT:
            raise DataError(f"{file} was written by another version of this program; evaluate again")
        data = read_json(file, _File)
        if strange := sorted(data.protocols.keys() - PROTOCOL_NAMES.keys()):
            raise DataError(f"{file}: protocols: {_found(strange[0], PROTOCOL_NAMES)}; evaluate again")
        return cls(
            predictor=data.predictor,
            fingerprint=data.fingerprint,
            set=data.set,
            device=data.device,
            precision=data.precision,
            choice=data.protocol,
            protocols=data.protocols,
            table=_read_rows(file, data.rows, data.protocols),
        )


def _means(rows: pd.DataFrame) -> dict[str, float]:
    """Average the metrics of at least one image."""
    return {str(name): float(rows[name].mean()) for name in rows.columns if name not in ORIGINS}


def _grouped(rows: pd.DataFrame, names: "pd.Series[str]") -> Means:
    return {str(name): {"images": len(group), **_means(group)} for name, group in rows.groupby(names, sort=True)}


def make_table(rows: Iterable[tuple[Any, ...]], samples: ShardSet) -> pd.DataFrame:
    """Make the table of an evaluation from rows of (protocol, key, METRICS) and the origins of the samples."""
    table = pd.DataFrame(rows, columns=["protocol", "key", *METRICS])
    by_key = samples.rows[["key", *ORIGINS]].set_index("key")
    for place, name in enumerate(ORIGINS, 2):
        table.insert(place, name, table["key"].map(by_key[name]).astype(str))
    return table


def _read_rows(file: Path, rows: dict[str, list[Any]], protocols: Protocols) -> pd.DataFrame:
    """Check the rows of a file and make the table of them."""
    texts = {
        name: to_type(rows.get(name), list[Text], str(file), f"rows.{name}") for name in ("protocol", "key", *ORIGINS)
    }
    numbers = {name: to_type(rows.get(name), list[float], str(file), f"rows.{name}") for name in METRICS}
    if len({*map(len, texts.values()), *map(len, numbers.values())}) > 1:
        raise DataError(f"{file}: rows: expected columns of one length, found others; evaluate again")
    if strange := sorted(set(texts["protocol"]) - set(protocols)):
        raise DataError(f"{file}: rows: {_found(strange[0], protocols)}; evaluate again")
    if not all(np.isfinite(column).all() for column in numbers.values()):
        raise DataError(f"{file}: rows: expected finite metrics, found others; evaluate again")
    return pd.DataFrame({**texts, **{name: np.array(column, np.float64) for name, column in numbers.items()}})


def _found(strange: str, known: Iterable[str]) -> str:
    return f"expected the protocols {', '.join(known)}, found {shorten(escape(strange), 60)}"


class _Version(msgspec.Struct):
    format: int


class _File(msgspec.Struct):
    """What is read of a file that `Evaluation.save` wrote."""

    protocol: ProtocolChoice
    protocols: Annotated[dict[str, Protocol], msgspec.Meta(min_length=1)]
    predictor: Text
    fingerprint: Text
    set: SetInfo
    device: Text
    precision: Text
    rows: dict[str, list[Any]]


def load_matching(
    file: Path, fingerprint: str, samples: ShardSet, device: str, protocols: Protocols = PROTOCOLS
) -> Evaluation | None:
    """Read the evaluation in `file` if it is that of this predictor on this subset and device; otherwise return None.

    Args:
        file: File of the evaluation; may be missing.
        fingerprint: Fingerprint of the current predictor.
        samples: The current set.
        device: The current device, as `describe_device` names it: numbers of several devices are never compared.
        protocols: The protocols that it must have been made under.
    """
    if not file.exists():
        return None
    try:
        found = Evaluation.load(file)
    except DataError:
        return None  # another version, or damaged: a cache miss
    about = found.fingerprint, found.set.key, found.set.images, found.device, found.protocols
    same = about == (fingerprint, SetInfo.of(samples).key, len(samples), device, protocols)
    return found if same and _is_about(found, samples) else None


def _is_about(evaluation: Evaluation, samples: ShardSet) -> bool:
    """Tell whether each row is of a sample of the set, at most once for each protocol."""
    places = evaluation.table[["protocol", "key"]]
    return bool(places["key"].isin(set(samples.rows["key"])).all()) and not places.duplicated().any()
