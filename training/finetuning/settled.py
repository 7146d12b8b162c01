"""Options that may be left out: taken from the run that is resumed, or settled by the network and the depth."""

from dataclasses import replace
from typing import Any

from sharding.errors import UsageError
from training.claim import has_run
from training.config import EncoderName, FinetuneConfig
from training.depth_options import LossName, TrainedKind
from training.finetuning.objective import choose_loss
from training.network.encoder_name import DEFAULT_ENCODER
from training.runfolder import load_config

SETTLED = ("encoder_name", "loss")


def left_out(config: FinetuneConfig) -> list[str]:
    """Return which of `SETTLED` the options leave open."""
    return [name for name in SETTLED if getattr(config, name) is None]


def recall(config: FinetuneConfig) -> FinetuneConfig:
    """Take what is left out from the run that is resumed, if there is one.

    Raises:
        DataError: The options of that run are damaged.
    """
    open_still = left_out(config)
    if not open_still or not config.resume or not has_run(config.out):
        return config
    before = load_config(config.out)
    values: dict[str, Any] = {name: before.get(name) for name in open_still}
    return replace(config, **values)


def settle_name(config: FinetuneConfig, found: EncoderName | None) -> FinetuneConfig:
    """Fill in the name of the encoder by the network that is trained.

    Args:
        config: Options of the run.
        found: The ResNet that the network encodes with, None if it is none of them.

    Raises:
        UsageError: The options name another one.
    """
    if found and config.encoder_name and found != config.encoder_name:
        raise UsageError(f"--encoder-name {config.encoder_name}: the network was built on a {found}; give that name")
    return replace(config, encoder_name=found or config.encoder_name or DEFAULT_ENCODER)


def settle_loss(config: FinetuneConfig, kind: TrainedKind) -> FinetuneConfig:
    """Fill in the loss by what the depth of the training set means.

    Raises:
        UsageError: The options name a loss that needs metres, and there are none.
    """
    return replace(config, loss=choose_loss(config.loss, kind))


def known_name(config: FinetuneConfig) -> EncoderName:
    """Return the name, after `settle_name`."""
    assert config.encoder_name is not None, "settled from the network"
    return config.encoder_name


def known_loss(config: FinetuneConfig) -> LossName:
    """Return the loss, after `settle_loss`."""
    assert config.loss is not None, "settled from the training set"
    return config.loss
