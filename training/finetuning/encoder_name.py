"""The name of a run's encoder where the options leave it out: from the run that is resumed, or from the network."""

from dataclasses import replace

from sharding.errors import UsageError
from training.claim import has_run
from training.config import EncoderName, FinetuneConfig
from training.network.encoder_name import DEFAULT_ENCODER
from training.runfolder import load_config


def recall_name(config: FinetuneConfig) -> FinetuneConfig:
    """Take the name that is left out from the run that is resumed, if there is one.

    Raises:
        DataError: The options of that run are damaged.
    """
    if config.encoder_name is not None or not config.resume or not has_run(config.out):
        return config
    return replace(config, encoder_name=load_config(config.out).get("encoder_name"))


def settle_name(config: FinetuneConfig, found: EncoderName | None) -> FinetuneConfig:
    """Fill in the name by the network that is trained.

    Args:
        config: Options of the run.
        found: The ResNet that the network encodes with, None if it is none of them.

    Raises:
        UsageError: The options name another one.
    """
    if found and config.encoder_name and found != config.encoder_name:
        raise UsageError(f"--encoder-name {config.encoder_name}: the network was built on a {found}; give that name")
    return replace(config, encoder_name=found or config.encoder_name or DEFAULT_ENCODER)


def known_name(config: FinetuneConfig) -> EncoderName:
    """Return the name, after `settle_name`."""
    assert config.encoder_name is not None, "settled from the network"
    return config.encoder_name
