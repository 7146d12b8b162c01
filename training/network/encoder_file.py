"""Files of pretrained encoders: read without running code, and brought to the names that torchvision gives.

Programs save an encoder in several ways. Three that leave no doubt about what is meant are accepted, each said in a
line: a state dict below one of the names in `WRAPPERS`, one prefix on all keys, and no counters of BatchNorm's batches.
Everything else is left as it is, for `training.network.encoder` to refuse.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.limits import MAX_ENCODER_BYTES
from sharding.progress import say
from training.network.saved import is_plain, load_saved
from training.runfolder import ENCODER_NAME

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Names of the state dict in a checkpoint: Lightning's and torchvision's, and those of PyTorch's tutorials."""

HEAD = "fc."
"""Prefix of the classifier's keys in torchvision's ResNets; an encoder has none."""

ADVICE = (
    f"a training checkpoint is not an encoder: give RUN/{ENCODER_NAME} of `depthstream pretrain`, or "
    "exported_models/exported_last.pt of LightlyTrain"
)
"""What to give in place of a file that is no encoder."""

_COUNTER = "num_batches_tracked"  # end of the key of a BatchNorm's number of batches
_LANDMARK = "layer1.0.conv1.weight"  # a key that is in each of the ResNets, once
_LISTED_KEYS = 8  # at most, in a message


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU, without executing code from the file, and take off its wrapper and its prefix.

    Raises:
        DataError: The file is damaged, is not a flat state dict in at most one wrapper, or holds several encoders, or
            one with keys of something else.
    """
    content = _unwrap(load_saved(file, f"a state dict of tensors ({ADVICE})", MAX_ENCODER_BYTES), file)
    if not isinstance(content, dict) or not all(map(_is_entry, content.items())):
        raise DataError(f"{file}: expected a flat state dict of tensors, found {_describe(content)}; {ADVICE}")
    return _without_prefix(content, file)


def is_counter(key: str) -> bool:
    """Tell whether a key is that of a BatchNorm's number of batches."""
    return key.endswith(f".{_COUNTER}")


def with_counters(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> Mapping[str, Tensor]:
    """Add BatchNorm's numbers of batches, if they are all that a state dict lacks: 0, as in a new network.

    PyTorch before 0.4.1 had none. They are used only where BatchNorm's momentum is None, which no ResNet has.

    Args:
        state: The state dict.
        wanted: That of the network.
        file: Where it is from, for the line that says so.
    """
    missing = [key for key in wanted if key not in state and not key.startswith(HEAD)]
    if not missing or not all(map(is_counter, missing)) or any(map(is_counter, state)):
        return state
    say(f"{file}: without {_COUNTER} of its {len(missing)} BatchNorms, as older PyTorch saved it; they are set to 0")
    return dict(state) | {key: torch.zeros_like(wanted[key]) for key in missing}


def list_keys(keys: Sequence[str]) -> str:
    """List the first of some keys for a message."""
    rest = f", and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
    return ", ".join(shorten(escape(key), 150) for key in keys[:_LISTED_KEYS]) + rest


def _unwrap(content: Any, file: Path) -> Any:
    """Return the state dict in a checkpoint that names it in one of the common ways; else what was read."""
    found = [name for name in WRAPPERS if isinstance(content, dict) and isinstance(content.get(name), dict)]
    if len(found) > 1:
        raise DataError(f"{file}: expected one state dict, found {', '.join(found)}; save the encoder's alone")
    if not found:
        return content
    say(f"{file}: the state dict is its entry {found[0]!r}; its other entries are left out")
    return content[found[0]]


def _without_prefix(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Take off the one prefix of all keys, such as "module."; the classifier's may lack it."""
    prefixes = [key.removesuffix(_LANDMARK) for key in state if key.endswith(f".{_LANDMARK}")]
    if not prefixes or _LANDMARK in state:
        return state
    if len(prefixes) > 1:
        raise DataError(
            f"{file}: expected one encoder, found {len(prefixes)}, with the prefixes {list_keys(prefixes)}; save the "
            f"state dict of the one you mean, or give RUN/{ENCODER_NAME} of `depthstream pretrain`"
        )
    (prefix,) = prefixes
    if others := [key for key in state if not key.startswith((prefix, HEAD))]:
        raise DataError(
            f"{file}: expected the prefix {list_keys(prefixes)} on all keys, found {len(others)} without it: "
            f"{list_keys(others)}; save the encoder's state dict alone"
        )
    say(f"{file}: its keys are read without their prefix {list_keys(prefixes)}")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _is_entry(entry: tuple[Any, Any]) -> bool:
    return isinstance(entry[0], str) and is_plain(entry[1])


def _describe(content: Any) -> str:
    """Say what was saved instead of a state dict: its type, or the first entry that is wrong."""
    if not isinstance(content, dict):
        return f"a value of type {type(content).__name__}"
    key, value = next(entry for entry in content.items() if not _is_entry(entry))
    if not isinstance(key, str):
        return f"a key of type {type(key).__name__}"
    return f"{shorten(escape(key), 100)} of type {type(value).__name__}"
