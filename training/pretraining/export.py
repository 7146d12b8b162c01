"""What LightlyTrain exports, checked, as the content of `encoder.pt`: a state dict of the model, and nothing else."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from sharding.errors import DataError
from sharding.limits import MAX_ENCODER_BYTES
from training.lightlytrain.models import TORCHVISION
from training.network.saved import check_shapes, load_saved
from training.pretraining.saved_models import KEY

_WITHOUT_STATE_DICT = ("rfdetr/", "ultralytics/")
"""Packages of which LightlyTrain exports something else: their models' state dicts are taken from the checkpoint."""


def read_export(
    path: Path, model: str, model_args: Mapping[str, Any] | None = None, saved: Path | None = None
) -> bytes:
    """Check that LightlyTrain's export is a finite state dict of `model`; return it as the bytes of such a file.

    Args:
        path: The export.
        model: Name of the model.
        model_args: Arguments of its constructor.
        saved: For a model that is not torchvision's: a checkpoint of the run, with the state dict of the model that
            LightlyTrain built.

    Raises:
        DataError: It is the state dict of another model, or a tensor is not finite.
    """
    wanted = _build(model, model_args) if model.startswith(TORCHVISION) else _of_checkpoint(saved)
    if model.startswith(_WITHOUT_STATE_DICT):
        state = wanted
    else:
        state = load_saved(path, f"the state dict of {model}", MAX_ENCODER_BYTES)
    check_shapes(state, wanted, f"{path}, which should be {model}")
    if bad := [name for name, value in state.items() if not torch.isfinite(value).all()]:
        raise DataError(
            f"{path}: {len(bad)} tensors are not finite, the first is {bad[0]}: training diverged; "
            "give a larger --batch-size or another --seed"
        )
    buffer = io.BytesIO()
    torch.save({name: _single(value) for name, value in state.items()}, buffer)
    return buffer.getvalue()


def _single(value: Tensor) -> Tensor:
    """Return numbers as float32, whatever they were trained in; those of wide formats are rounded."""
    return value.float() if value.is_floating_point() else value


def _build(model: str, model_args: Mapping[str, Any] | None) -> Mapping[str, Tensor]:
    arguments = dict(model_args or {}) | {"weights": None}
    state: Mapping[str, Tensor] = torchvision.models.get_model(
        model.removeprefix(TORCHVISION), **arguments
    ).state_dict()
    return state


def _of_checkpoint(saved: Path | None) -> Mapping[str, Tensor]:
    """Read the state dict of the model, as its package built it, from a checkpoint of the run."""
    if saved is None:
        raise DataError("expected a checkpoint of the run, to compare the exported model with, found none")
    state: Mapping[str, Tensor] = load_saved(saved, "a checkpoint of this run")[KEY]["models"]["model"]
    return state
