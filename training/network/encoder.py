"""Encoders: torchvision ResNets cut before pooling, and the strict loading of pretrained weights into them.

A state dict either fills the whole encoder or is refused with a list of the wrong keys. Partly loaded weights would
train without an error and look like poor pretraining.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from sharding.errors import DataError, UsageError
from sharding.progress import say
from training.config import EncoderName
from training.network.encoder_file import ADVICE, HEAD, is_counter, list_keys, read_state, with_counters
from training.network.encoder_name import DEFAULT_ENCODER, ENCODERS, agree_on_name
from training.runfolder import SCRATCH, find_weights

Shapes = dict[str, tuple[int, ...]]
"""Shapes of tensors by their keys, without those of the classifier."""


def load_encoder(source: str | Path, name: str | None = None, seed: int = 0) -> nn.Sequential:
    """Build an encoder with pretrained or random weights.

    Args:
        source: Run folder of `pretrain`, a state dict file with torchvision's names, or "none" for random weights.
        name: One of `ENCODERS`; None for that of the run or, if a file has all keys of one, for that one, else
            `DEFAULT_ENCODER`.
        seed: Seed of the random weights.

    Returns:
        The ResNet without pooling and classifier: float32 (B, 3, H, W), normalised by ImageNet's mean and deviation, to
        features (B, C, ceil(H / 32), ceil(W / 32)). In training mode, on the CPU.

    Raises:
        DataError: The file is missing, is not a state dict, or does not fill every key of the encoder.
        UsageError: The encoder is unknown, or is not that of the run.
    """
    name = agree_on_name(source, name)
    if str(source) == SCRATCH:
        return cut_body(build_resnet(name or DEFAULT_ENCODER, seed))
    file = find_weights(source)
    state = read_state(file)
    name = name or _say_name(find_name(state), file) or DEFAULT_ENCODER
    return cut_body(_fill(build_resnet(name, seed), state, name, file))


def _say_name(name: str | None, file: Path) -> str | None:
    if name is not None:
        say(f"{file}: the keys are those of a {name}")
    return name


def _fill(resnet: nn.Module, state: Mapping[str, Tensor], name: str, file: Path) -> nn.Module:
    state = with_counters(state, resnet.state_dict(), file)
    check_state(state, resnet, f"{file} as {name}")
    # strict=False only for the classifier: `check_state` has compared all other keys.
    resnet.load_state_dict({key: value for key, value in state.items() if not key.startswith(HEAD)}, strict=False)
    return resnet


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


def find_name(keys: Iterable[str]) -> EncoderName | None:
    """Find the ResNet whose body has these keys, None if there is none; counters and classifier may be missing.

    Args:
        keys: Keys of a state dict, by torchvision's names.
    """
    found = {key for key in keys if not key.startswith(HEAD) and not is_counter(key)}
    return next((name for name in ENCODERS if set(_essential(_shapes_of(name))) == found), None)


def recognize(parameters: Sequence[nn.Parameter]) -> EncoderName | None:
    """Find the ResNet whose body has parameters of these shapes, in this order, None if there is none."""
    found = [tuple(one.shape) for one in parameters]
    return next((name for name in ENCODERS if list(_parameter_shapes(name)) == found), None)


@cache
def _shapes_of(name: str) -> Shapes:
    return _body_shapes(meta_resnet(name).state_dict())


@cache
def _parameter_shapes(name: str) -> tuple[tuple[int, ...], ...]:
    return tuple(_body_shapes(dict(meta_resnet(name).named_parameters())).values())


def meta_resnet(name: str) -> nn.Module:
    """Build a torchvision ResNet on the meta device: shapes only, no memory for the weights."""
    with torch.device("meta"):
        resnet: nn.Module = get_model(name, weights=None)
    return resnet


def _essential(shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {key: shape for key, shape in shapes.items() if not is_counter(key)}


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
        listed = "; ".join(f"{len(keys)} {kind}: {list_keys(keys)}" for kind, keys in problems.items() if keys)
        raise DataError(f"{what}: expected {len(wanted)} keys with their shapes; {listed}. {_hint(found, problems)}")


def _body_shapes(state: Mapping[str, Any]) -> Shapes:
    return {key: tuple(value.shape) for key, value in state.items() if not key.startswith(HEAD)}


def _hint(found: Mapping[str, tuple[int, ...]], problems: Mapping[str, list[str]]) -> str:
    """Suggest a fix, as far as the keys show the cause."""
    if not any(keys for kind, keys in problems.items() if kind != "not finite"):
        return "The pretraining diverged: lower its learning rate"
    if not found:
        return f"It is empty: {ADVICE}"
    if all(is_counter(key.partition(" ")[0]) for keys in problems.values() for key in keys):
        return "Its counters are damaged: leave them all out, and they are set to 0"
    for name in ENCODERS:
        if _essential(_shapes_of(name)) == _essential(found):
            return f"These are the weights of a {name}: give --encoder-name {name}"
    if any(key.endswith("conv1.weight") and key != "conv1.weight" for key in problems["unexpected"]):
        return f"They are those of a larger network: {ADVICE}"
    return f"They are not the weights of one of {', '.join(ENCODERS)} as torchvision names them"
