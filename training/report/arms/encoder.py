"""What a run began with: random weights, an encoder by the options of its pretraining, or a file by its content."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from sharding.format.strict_json import Text, to_type
from training.config import PretrainConfig
from training.finetuning.trace import hash_encoder, read_pretraining
from training.runfolder import SCRATCH, WHERE_IT_RUNS

NO_FACTOR = (*WHERE_IT_RUNS, "seed", "sets", "preview", "loader_args", "loggers", "deterministic", "precision")
"""Options of a pretraining that two encoders of one kind may differ in; its sets are compared by identity."""


class PretrainedOn(msgspec.Struct):
    """A set of a pretraining, as its `sets.json` has it."""

    identity: Text
    name: Text = ""


class PretrainRecord(msgspec.Struct):
    """The entry `pretrain` of `metrics.json`: options and sets of the encoder's run."""

    config: dict[str, Any]
    sets: list[PretrainedOn] | None = None


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """What a run began with.

    Attributes:
        kind: "random" weights; "pretrained", with the options of the pretraining; or "file", of which only the content
            is known.
        path: As given to the run.
        options: Options of the pretraining that decide what it learned, and the identities of its sets; else empty.
        sha256: Hash of the file; None if it is not known.
        seed: Seed of the pretraining; None if it is not known.
    """

    kind: Literal["random", "pretrained", "file"]
    path: str
    options: dict[str, Any]
    sha256: str | None
    seed: int | None = None

    @property
    def key(self) -> Any:
        """Return what two encoders of one arm have in common."""
        if self.kind == "file":
            return self.sha256 or self.path
        return self.options if self.kind == "pretrained" else self.kind

    def describe(self) -> str:
        """Describe it in a few words."""
        if self.kind == "random":
            return "random weights"
        if self.kind == "pretrained":
            return ", ".join(str(self.options[name]) for name in ("method", "augmentation") if name in self.options)
        return Path(self.path).name + (f" (sha256 {self.sha256[:12]})" if self.sha256 else "")


def find_encoder(path: str, run: Path, sha256: str | None, recorded: PretrainRecord | None) -> Encoder:
    """Find out what a run began with: by its record, else by the encoder's run folder, else by the file's content.

    Args:
        path: As given to the run; a relative path is tried in the current folder and in those above the run folder.
        run: Folder of the run.
        sha256: Hash of the encoder's file, if the run recorded it.
        recorded: Options and sets of the encoder's run, if the run recorded them.
    """
    if path == SCRATCH:
        return Encoder(kind="random", path=path, options={}, sha256=None)
    if recorded is None:
        recorded = next(filter(None, map(_read, _places(path, run))), None)
    if recorded is None:
        return Encoder(kind="file", path=path, options={}, sha256=sha256 or _hash(path, run))
    return Encoder(
        kind="pretrained",
        path=path,
        options=_deciding(recorded),
        sha256=sha256 or _hash(path, run),
        seed=seed if isinstance(seed := recorded.config.get("seed"), int) else None,
    )


def _deciding(record: PretrainRecord) -> dict[str, Any]:
    """Return the options that decide what a pretraining learned; those that a version did not have are the defaults."""
    defaults = {
        one.name: one.default for one in dataclasses.fields(PretrainConfig) if one.default is not dataclasses.MISSING
    }
    options = {name: value for name, value in (defaults | record.config).items() if name not in NO_FACTOR}
    if record.sets is not None:
        return options | {"sets": [one.identity for one in record.sets]}
    return options | {"sets": record.config.get("sets")}


def _places(path: str, run: Path) -> Iterator[str]:
    given = Path(path).expanduser()
    for base in (Path(), *run.resolve().parents):
        yield str(base / given)
        if given.is_absolute():
            return


def _read(place: str) -> PretrainRecord | None:
    found = read_pretraining(place)
    return None if found is None else to_type(found, PretrainRecord, place)


def _hash(path: str, run: Path) -> str | None:
    return next(filter(None, map(hash_encoder, _places(path, run))), None)
