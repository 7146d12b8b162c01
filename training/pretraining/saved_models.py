"""LightlyTrain's entry of a checkpoint without its modules: their state dicts in their place.

LightlyTrain puts three whole modules into every checkpoint, which only unpickling could read. All it does with them
when it resumes is to ask each for its state dict; so here a state dict is stored, and a `SavedModel` gives it back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from torch import Tensor

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.format.strict_json import Text, to_type
from training.network.saved import is_plain

KEY = "lightly_train"
"""Name of the entry."""

_Channels = Annotated[list[float], msgspec.Meta(min_length=1, max_length=64)]


class _Normalisation(msgspec.Struct, forbid_unknown_fields=True):
    mean: _Channels
    std: _Channels


class _Models(msgspec.Struct, forbid_unknown_fields=True):
    model: dict[str, Any]
    wrapped_model: dict[str, Any]
    embedding_model: dict[str, Any]


class _Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: Text
    date: datetime
    models: _Models
    normalize_args: _Normalisation
    license_info: Text | None = None


@dataclass(frozen=True)
class SavedModel:
    """A module as far as LightlyTrain needs one when it resumes.

    Attributes:
        tensors: Its state dict.
    """

    tensors: Mapping[str, Tensor]

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the state dict."""
        return self.tensors


def without_modules(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint that LightlyTrain is about to write, with state dicts for its modules."""
    if KEY not in checkpoint:
        return checkpoint
    entry = checkpoint[KEY]
    models = {name: dict(module.state_dict()) for name, module in entry["models"].items()}
    return checkpoint | {KEY: entry | {"models": models}}


def with_models(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a checkpoint that `without_modules` made, as LightlyTrain takes it to resume.

    Raises:
        DataError: Its entry is not as LightlyTrain 0.18 writes it.
    """
    if KEY not in checkpoint:
        raise DataError(f"{path}: expected a checkpoint of `depthstream pretrain`, found no entry {KEY}")
    entry = checkpoint[KEY]
    models = msgspec.structs.asdict(to_type(entry, _Entry, str(path), KEY).models)
    for name, tensors in models.items():
        for key, value in tensors.items():
            if not is_plain(value):
                raise DataError(f"{path}: {KEY}/models/{name}: expected tensors, found another value at {key}")
    return checkpoint | {KEY: entry | {"models": {name: SavedModel(tensors) for name, tensors in models.items()}}}


@contextmanager
def naming_another_model(file: str = "the checkpoint") -> Iterator[None]:
    """Turn torch's error about the weights of another model, which LightlyTrain raises when it loads some, into a line.

    Args:
        file: What it loads, for the message.

    Raises:
        DataError: The file has other weights than the model.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("Error(s) in loading state_dict"):
            raise
        lines = [line.strip() for line in str(error).splitlines()[:2]]
        raise DataError(f"{file} holds another model: {shorten(escape(' '.join(lines)))}") from error
