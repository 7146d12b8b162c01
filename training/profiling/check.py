"""What is wrong with the options of `profile`, found without torch."""

from sharding.reading.check import check_set
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.config import ProfileConfig
from training.depth_sets.views import make_augment
from training.profiling.work import check_room, plan_work
from training.set_options import cache_settings, check_cache


def check_profile(config: ProfileConfig) -> None:
    """Check that the set is there, its subset can be chosen, and the views be made; of a remote set not the index.

    Raises:
        UsageError: They cannot.
        DataError: The set is damaged, or cannot be reached.
    """
    make_augment(config)  # its checks
    check_cache(config)
    if is_remote(config.set):
        check_set(config.set, config.where, cache_settings(config))
        return
    check_set(config.set)
    check_room(plan_work(ShardSet(config.set, config.where), config), config.num_workers)
