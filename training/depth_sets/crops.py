"""Training images that are smaller than the crop."""

import numpy as np

from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from training.depth_options import AugmentOptions


def announce_small_images(config: AugmentOptions, samples: ShardSet) -> None:
    """Say how many training images are smaller than the crop at the run's scale, if some are.

    Args:
        config: Options.
        samples: The training set.
    """
    if config.augment == "tutorial":
        return  # its boxes are parts of the image, stretched to the crop
    # float64 (N, 2), height and width as the network sees them
    sides = np.rint(samples.rows[["height", "width"]].to_numpy(np.float64) * config.scale)
    small = (sides < (config.height, config.width)).any(axis=1)
    if small.any():
        height, width = sides[small].min(axis=0).astype(int)
        say(
            f"{small.sum()} of {len(samples)} training images are smaller than the crop of {config.height} x "
            f"{config.width} pixels (from {height} x {width} at --scale {config.scale:g}): beyond their borders a crop "
            "is mirrored, and has no depth; give a smaller --height and --width"
        )
