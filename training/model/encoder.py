"""Encoders: torchvision ResNets cut before pooling, and the strict loading of pretrained weights into them.

A state dict either fills the whole encoder or is refused with a list of the wrong keys. Partly loaded weights would
train without an error and look like poor pretraining.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from sharding.errors import DataError, UsageError
from sharding.escaping import escape, shorten
from sharding.limits import MAX_ENCODER_BYTES
from training.model.saved import is_plain, load_saved
from training.runfolder import ENCODER_NAME, SCRATCH, find_weights

ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet101")
"""Supported encoders, by their names in torchvision."""

_HEAD = "fc."  # prefix of the classifier's keys in torchvision's ResNets
_LISTED_KEYS = 8  # at most, of each problem in a message


def load_encoder(source: str | Path, name: str, seed: int = 0) -> nn.Sequential:
    """Build an encoder with pretrained or random weights.

    Args:
        source: Run folder of `pretrain`, a state dict file with torchvision's names, or "none" for random weights.
        name: One of `ENCODERS`.
        seed: Seed of the random weights.

    Returns:
        The ResNet without pooling and classifier: float32 (B, 3, H, W), normalised by ImageNet's mean and deviation, to
        features (B, C, ceil(H / 32), ceil(W / 32)). In training mode, on the CPU.

    Raises:
        DataError: The file is missing, is not a state dict, or does not fill every key of the encoder.
        UsageError: The encoder is unknown.
    """
    resnet = build_resnet(name, seed)
    if str(source) != SCRATCH:
        file = find_weights(source)
        state = read_state(file)
        check_state(state, resnet, f"{file} as {name}")
        # strict=False only for the classifier: `check_state` has compared all other keys.
        resnet.load_state_dict({key: value for key, value in state.items() if not key.startswith(_HEAD)}, strict=False)
    return cut_body(resnet)


def build_resnet(name: str, seed: int = 0) -> nn.Module:
    """Build a torchvision ResNet with random weights from `seed` alone; the global generator is not changed.

    Raises:
        UsageError: The encoder is unknown.
    """
    if name not in ENCODERS:
        raise UsageError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        resnet: nn.Module = get_model(name, weights=None)
    return resnet


def cut_body(resnet: nn.Module) -> nn.Sequential:
    """Cut average pooling and classifier off a ResNet; the layers are shared, not copied."""
    return nn.Sequential(*list(resnet.children())[:-2])  # the last two children are avgpool and fc


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU, without executing code from the file.

    Raises:
        DataError: The file is damaged, or is not a flat state dict.
    """
    content = load_saved(file, f"a state dict of tensors ({_ADVICE})", MAX_ENCODER_BYTES)
    if not isinstance(content, dict) or not all(map(_is_entry, content.items())):
        raise DataError(f"{file}: expected a flat state dict of tensors, found {_describe(content)}; {_ADVICE}")
    return content


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


_ADVICE = (
    f"a training checkpoint is not an encoder: give RUN/{ENCODER_NAME} of `depthstream pretrain`, or "
    "exported_models/exported_last.pt of LightlyTrain"
)


def check_state(state: Mapping[str, Tensor], resnet: nn.Module, what: str) -> None:
    """Check that a state dict fills a ResNet: all keys but the classifier's, no others, same shapes, finite values.

    Args:
        state: The state dict.
        resnet: The network with its classifier.
        what: Name of the state dict in the message.

    Raises:
        DataError: The state dict does not fill the ResNet; the message lists the keys.
    """
    wanted, found = _body_shapes(resnet.state_dict()), _body_shapes(state)
    problems = {
        "missing": [key for key in wanted if key not in found],
        "unexpected": [key for key in found if key not in wanted],
        "of another shape": [
            f"{key} {found[key]}, expected {shape}" for key, shape in wanted.items() if found.get(key, shape) != shape
        ],
    }
    same = [key for key, shape in wanted.items() if found.get(key) == shape]
    floating = {key: value.is_floating_point() for key, value in resnet.state_dict().items()}
    problems["of another type"] = [
        f"{key} {state[key].dtype}" for key in same if state[key].is_floating_point() != floating[key]
    ]
    # Values only of what has the right shape. Integers (BatchNorm's num_batches_tracked) are always finite.
    problems["not finite"] = [key for key in same if floating[key] and not bool(state[key].isfinite().all())]
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {kind}: {_shorten(keys)}" for kind, keys in problems.items() if keys)
        raise DataError(f"{what}: expected {len(wanted)} keys with their shapes; {listed}. {_hint(found, problems)}")


def _body_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items() if not key.startswith(_HEAD)}


def _shorten(keys: list[str]) -> str:
    rest = f", and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
    return ", ".join(shorten(escape(key), 150) for key in keys[:_LISTED_KEYS]) + rest


def _hint(found: Mapping[str, tuple[int, ...]], problems: Mapping[str, list[str]]) -> str:
    """Suggest a fix, as far as the keys show the cause."""
    if not any(keys for kind, keys in problems.items() if kind != "not finite"):
        return "The pretraining diverged: lower its learning rate"
    for name in ENCODERS:
        with torch.device("meta"):  # shapes only, no memory for the weights
            other = _body_shapes(get_model(name, weights=None).state_dict())
        if other == dict(found):
            return f"These are the weights of a {name}: give --encoder-name {name}"
    if any(key.endswith("conv1.weight") and key != "conv1.weight" for key in problems["unexpected"]):
        return f"The keys carry a prefix: {_ADVICE}"
    return f"They are not the weights of one of {', '.join(ENCODERS)} as torchvision names them"
