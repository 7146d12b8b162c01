"""Loading what torch saved: tensors, numbers, text, lists and dicts, and nothing that runs code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.limits import MAX_CHECKPOINT_BYTES
from training.torch_file import check_torch_file, is_archive


def load_saved(path: Path, expected: str, most: int = MAX_CHECKPOINT_BYTES, *, mapped: bool = True) -> Any:
    """Load a file of torch.save onto the CPU; the only place that does so.

    Args:
        path: The file.
        expected: What it should be, for the message.
        most: Bytes that are read at most.
        mapped: Whether tensors are mapped from the file until they are used, instead of read.

    Raises:
        DataError: It is no such file, is damaged, too large, or holds anything but tensors and plain values.
    """
    check_torch_file(path, expected, most)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_archive(path))
    except Exception as error:  # what is left here is damage; torch raises errors of many types on it
        # torch's text advises to load without weights_only: that would run what is in the file.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
        raise DataError(f"{path}: expected {expected}, found damage: {_line(reason)}") from error


def check_shapes(found: Mapping[str, Any], wanted: Mapping[str, Tensor], what: str) -> None:
    """Check that a state dict has the keys of another, with plain tensors of the same shapes; reads no value.

    Raises:
        DataError: It has not; the message names the first key that differs, and both shapes.
    """
    for key in dict.fromkeys((*wanted, *found)):
        expected = _describe(wanted[key]) if key in wanted else "no such key"
        if key not in found or key not in wanted or not is_plain(found[key]) or found[key].shape != wanted[key].shape:
            there = _describe(found[key]) if key in found else "none"
            raise DataError(f"{what}: {shorten(escape(str(key)), 100)}: expected {expected}, found {there}")


def is_plain(value: Any) -> bool:
    """Return whether a value is a dense tensor of real numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_complex() or value.is_quantized or value.is_meta)
    )


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a value of type {type(value).__name__}"
    kind = str(value.dtype).removeprefix("torch.")
    return f"{kind if is_plain(value) else f'{kind} ({value.layout})'} {tuple(value.shape)}"


def _line(text: str) -> str:
    return shorten(escape(text.splitlines()[0]))
