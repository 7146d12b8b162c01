"""A run of `depthstream finetune`, as a comparison reads it: options, sets, cost."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sharding.errors import DataError
from sharding.format.strict_json import Count, Text
from training.config import FinetuneConfig
from training.report.arms.encoder import Encoder, PretrainRecord, find_encoder
from training.run_files import read_json
from training.runfolder import METRICS_NAME, SetRecord, load_config

FORMER_LOSS = "silog"
"""Loss of runs that recorded none: what the default was before it depended on the depth."""


class UntouchedSet(msgspec.Struct):
    """The set of --val of a run with held-out scenes, which did not open it."""

    path: Text | None = None
    where: Text | None = None


class Split(msgspec.Struct):
    """How a global batch was computed."""

    world: Count = 1
    micro_batch: Count | None = None


class Start(msgspec.Struct):
    """A later start of a run that was resumed: what differed from the first one."""

    versions: dict[str, Text] | None = None
    revision: Text | None = None
    device: Text | None = None


class Facts(msgspec.Struct):
    """The part of `metrics.json` that a comparison reads; what older runs did not record is None or empty."""

    train: SetRecord
    val: SetRecord
    val_set: UntouchedSet | None = None
    finished: bool = False
    epochs: Count = 0
    loss: Text | None = None
    split: Split = msgspec.field(default_factory=Split)
    versions: dict[str, Text] = msgspec.field(default_factory=dict)
    revision: Text | None = None
    seconds: float | None = None
    device_seconds: float | None = None
    device: Text | None = None
    encoder_sha256: Text | None = None
    pretrain: PretrainRecord | None = None
    resumes: list[Start] = msgspec.field(default_factory=list)

    def version(self, package: str) -> str | None:
        """Return the version of a package, of several starts each; None if it was not recorded."""
        return _joined([self.versions.get(package), *((one.versions or {}).get(package) for one in self.resumes)])

    @property
    def revisions(self) -> str | None:
        """Return the revision of this program, of several starts each; None if it was not recorded."""
        return _joined([self.revision, *(one.revision for one in self.resumes)])

    @property
    def devices(self) -> str | None:
        """Return number and name of the devices, of several starts each name; None if it was not recorded."""
        names = _joined([self.device, *(one.device for one in self.resumes)])
        return None if names is None else f"{self.split.world} x {names}"


def _joined(values: Sequence[str | None]) -> str | None:
    return " then ".join(dict.fromkeys(value for value in values if value is not None)) or None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, one seed of an arm.

    Attributes:
        name: Name of the folder.
        folder: The folder, as given.
        config: All options, resolved; what an older version did not have yet is the default.
        facts: What the run recorded.
        encoder: What it began with.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    facts: Facts
    encoder: Encoder

    @property
    def seed(self) -> int:
        """Return its seed."""
        return int(self.config["seed"])

    @property
    def epochs(self) -> int:
        """Return the number of epochs it was asked for; `facts.epochs` are done."""
        return int(self.config["epochs"])

    @property
    def loss(self) -> str:
        """Return the name of its loss."""
        return self.facts.loss or self.config["loss"] or FORMER_LOSS

    @property
    def device_hours(self) -> float | None:
        """Return the hours it trained, times the number of devices; None if the time was not recorded."""
        facts = self.facts
        if facts.device_seconds is not None:
            return facts.device_seconds / 3600
        # An older run: right if all its starts had as many devices.
        return None if facts.seconds is None else facts.seconds * facts.split.world / 3600


def read_run(folder: str | Path) -> Run:
    """Read the folder of a fine-tuning run.

    Raises:
        DataError: It is not a run folder, or no epoch is finished.
    """
    path = Path(folder).expanduser()
    found, file = load_config(path), path / METRICS_NAME
    if "set" not in found or not file.exists():
        raise DataError(
            f"{folder}: expected {METRICS_NAME}, found none; is it a run of `depthstream finetune` with an epoch done?"
        )
    defaults = {
        one.name: one.default for one in dataclasses.fields(FinetuneConfig) if one.default is not dataclasses.MISSING
    }
    config, facts = defaults | found, read_json(file, Facts)
    return Run(
        name=path.resolve().name,
        folder=path,
        config=config,
        facts=facts,
        encoder=find_encoder(str(config["encoder"]), path, facts.encoder_sha256, facts.pretrain),
    )
