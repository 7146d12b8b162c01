"""Which ResNet an encoder is, as far as a name and a run folder tell; reads no weights and imports no torch."""

from pathlib import Path
from typing import get_args

from sharding.errors import UsageError
from training.config import EncoderName
from training.runfolder import CONFIG_NAME, SCRATCH, load_config

ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)
"""Supported encoders, by their names in torchvision."""

DEFAULT_ENCODER: EncoderName = "resnet50"
"""The encoder if nothing tells which."""

_PACKAGE = "torchvision/"  # of the models that are ResNets, in the names of `pretrain`


def read_name(source: str | Path) -> str | None:
    """Read which ResNet a run of `pretrain` trained; None if `source` is no folder of such a run.

    Raises:
        UsageError: The run trained another model.
        DataError: Its options are damaged.
    """
    if not (Path(source) / CONFIG_NAME).is_file() or (model := load_config(source).get("model")) is None:
        return None
    name = str(model).removeprefix(_PACKAGE)
    if name == model or name not in ENCODERS:
        raise UsageError(
            f"--encoder {source}: expected a ResNet of torchvision ({', '.join(ENCODERS)}), as which the U-Net "
            f"encodes, found a run that pretrained {model}; pretrain with --model {_PACKAGE}{DEFAULT_ENCODER}"
        )
    return name


def agree_on_name(source: str | Path, name: str | None) -> str | None:
    """Return the name of an encoder: that given, else that of the run; None if neither is known.

    Args:
        source: Run folder of `pretrain`, a file, or "none".
        name: The name that the user gave, None for none.

    Raises:
        UsageError: The run trained another ResNet than the one named, or another model.
        DataError: The options of the run are damaged.
    """
    found = None if str(source) == SCRATCH else read_name(source)
    if name and found and name != found:
        raise UsageError(
            f"--encoder-name {name}: expected {found}, which the run {source} pretrained; leave --encoder-name out, or "
            "give another --encoder"
        )
    return name or found
