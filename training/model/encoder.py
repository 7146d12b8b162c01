"""Encoders: torchvision ResNets cut before pooling, and the strict loading of pretrained weights into them.

A state dict either fills the whole encoder or is refused with the keys that are wrong. Half-loaded weights train
without a complaint and look like a bad pretraining.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from sharding.errors import DataError, UsageError
from training.runfolder import ENCODER_NAME

ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet101")
"""Names by torchvision."""

SCRATCH = "none"
"""The source that means random weights."""

_HEAD = "fc."
_LISTED_KEYS = 8


def load_encoder(source: str | Path, name: str, seed: int = 0) -> nn.Sequential:
    """Build an encoder with pretrained or random weights.

    Args:
        source: Run folder of `pretrain`, a state dict file with torchvision's names, or "none" for random weights.
        name: One of `ENCODERS`.
        seed: Of random weights.

    Returns:
        The ResNet without pooling and classifier: float32 (B, 3, H, W), normalised by ImageNet's mean and deviation, to
        features (B, C, ceil(H / 32), ceil(W / 32)). In training mode, on the CPU.

    Raises:
        DataError: The file is missing, no state dict, or does not fill every key of the encoder.
        UsageError: There is no such encoder.
    """
    resnet = build_resnet(name, seed)
    if str(source) != SCRATCH:
        file = find_weights(source)
        state = read_state(file)
        check_state(state, resnet, f"{file} as {name}")
        resnet.load_state_dict({key: value for key, value in state.items() if not key.startswith(_HEAD)}, strict=False)
    return cut_body(resnet)


def build_resnet(name: str, seed: int = 0) -> nn.Module:
    """Build a torchvision ResNet with random weights from `seed` alone; the global generator is left as it was.

    Raises:
        UsageError: There is no such encoder.
    """
    if name not in ENCODERS:
        raise UsageError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        resnet: nn.Module = get_model(name, weights=None)
    return resnet


def cut_body(resnet: nn.Module) -> nn.Sequential:
    """Cut average pooling and classifier off a ResNet; the layers are shared, not copied."""
    return nn.Sequential(*list(resnet.children())[:-2])


def find_weights(source: str | Path) -> Path:
    """The state dict file that `source` (a run folder of `pretrain`, or the file itself) means.

    Raises:
        DataError: There is none.
    """
    path = Path(source)
    file = path / ENCODER_NAME if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"expected an encoder at {file}, found none; give the run folder of a finished `depthstream pretrain`, a "
            f"torchvision state dict file, or {SCRATCH!r} for random weights"
        )
    return file


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU, without running code from the file.

    Raises:
        DataError: The file is damaged, or holds something else.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: expected a state dict of tensors; {_ADVICE} ({reason})") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        names = list(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{file}: expected a flat state dict of tensors, found {names}; {_ADVICE}")
    return content


_ADVICE = (
    "a training checkpoint is not an encoder: give RUN/encoder.pt of `depthstream pretrain`, or "
    "exported_models/exported_last.pt of LightlyTrain"
)


def check_state(state: Mapping[str, Tensor], resnet: nn.Module, what: str) -> None:
    """Check that a state dict fills a ResNet: every key but the classifier's, every shape, no other key, finite.

    Args:
        state: The state dict.
        resnet: The network with its classifier.
        what: Named in the message.

    Raises:
        DataError: It does not; lists the keys.
    """
    wanted, found = _body_shapes(resnet.state_dict()), _body_shapes(state)
    infinite = [key for key in found if state[key].is_floating_point() and not bool(state[key].isfinite().all())]
    problems = {
        "missing": [key for key in wanted if key not in found],
        "unexpected": [key for key in found if key not in wanted],
        "of another shape": [
            f"{key} {found[key]}, expected {shape}" for key, shape in wanted.items() if found.get(key, shape) != shape
        ],
        "not finite": infinite,
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {kind}: {_shorten(keys)}" for kind, keys in problems.items() if keys)
        raise DataError(f"{what}: expected {len(wanted)} keys with their shapes; {listed}. {_hint(found, problems)}")


def _body_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items() if not key.startswith(_HEAD)}


def _shorten(keys: list[str]) -> str:
    rest = f", and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
    return ", ".join(keys[:_LISTED_KEYS]) + rest


def _hint(found: Mapping[str, tuple[int, ...]], problems: Mapping[str, list[str]]) -> str:
    """What to do about it, as far as the keys tell."""
    if not any(keys for kind, keys in problems.items() if kind != "not finite"):
        return "The pretraining diverged: lower its learning rate"
    for name in ENCODERS:
        with torch.device("meta"):
            other = _body_shapes(get_model(name, weights=None).state_dict())
        if other == dict(found):
            return f"These are the weights of a {name}: give --encoder-name {name}"
    if any(key.endswith("conv1.weight") and key != "conv1.weight" for key in problems["unexpected"]):
        return f"The keys carry a prefix: {_ADVICE}"
    return f"They are not the weights of one of {', '.join(ENCODERS)} as torchvision names them"
