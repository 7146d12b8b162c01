"""What is wrong with the options of `profile`, found without torch."""

from sharding.reading.check import check_set
from training.config import ProfileConfig
from training.set_options import cache_settings


def check_profile(config: ProfileConfig) -> None:
    """Check that the set is there, and its subset can be chosen.

    Raises:
        UsageError: It is not.
        DataError: The set is damaged, or cannot be reached.
    """
    check_set(config.set, config.where, cache_settings(config))
