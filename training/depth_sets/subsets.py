"""The subset that a run trains on, and the one that it is validated on while it trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sharding.errors import DataError, UsageError
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import shown
from training.config import FinetuneConfig
from training.depth_options import TrainedKind, choose_val_where
from training.depth_sets.holdout import check_wish, hold_out
from training.depth_sets.overlap import describe_overlap
from training.depth_sets.usable import require_countable, with_depth
from training.metrics.kinds import depth_kind, without_depth
from training.set_options import cache_settings


@dataclass(frozen=True, kw_only=True)
class Subsets:
    """What a run trains on, and what it is validated on; every sample has a valid pixel.

    Attributes:
        train: Training set.
        val: Validated on while training: the held-out scenes, or the validation set.
        kind: What depth means in both.
        held_out: Names of the scenes that were taken out of the training set; empty if `val` is a set of its own.
        without_depth: Views without a valid pixel that were left out of "train" and of "val".
        shared: What both share, in words; "" if nothing.
    """

    train: ShardSet
    val: ShardSet
    kind: TrainedKind
    held_out: tuple[str, ...]
    without_depth: dict[str, int]
    shared: str


def choose_subsets(config: FinetuneConfig) -> Subsets:
    """Open the sets and choose from their indexes; reads no shard. With held-out scenes --val is not opened.

    Raises:
        UsageError: The options select nothing, too little, or depth of several kinds; or scenes or samples are in both
            subsets.
        DataError: A set cannot be read, or what is validated on has no depth that counts, or of another kind.
    """
    train, val, scenes = _split(config)
    kind = depth_kind(train)
    if scenes and without_depth(val).all():
        raise DataError(
            f"{train.url}: no view of the held-out scenes {', '.join(scenes)} has a valid pixel; hold others out, by "
            "--holdout-scenes with their names"
        )
    if (other := depth_kind(val, "--val-where")) != kind:
        raise DataError(
            f"{val.url}: expected depth of kind {kind}, as in the training set, found {other}; give another --val"
        )
    (train, lacking), (val, val_lacking) = with_depth(train, kind), with_depth(val, kind)
    require_countable(val)
    if scenes and len(train) < config.batch_size:
        raise UsageError(
            f"--holdout-scenes {config.holdout_scenes}: {len(train)} samples are left to train on, fewer than a global "
            f"batch of {config.batch_size}; hold fewer scenes out, or give a smaller --batch-size"
        )
    shared = describe_overlap(train, val)
    if shared and not config.allow_overlap:
        raise UsageError(
            f"{val.url} shares {shared} with the training set, so it would tell what the network remembers; validate "
            "on other scenes (--val-where, or --holdout-scenes), or accept it with --allow-overlap"
        )
    lacks = {"train": lacking, "val": val_lacking}
    return Subsets(train=train, val=val, kind=kind, held_out=scenes, without_depth=lacks, shared=shared)


def _split(config: FinetuneConfig) -> tuple[ShardSet, ShardSet, tuple[str, ...]]:
    """Return training and validation subset, and the scenes that are held out."""
    train = ShardSet(config.set, config.where, cache_settings(config))
    if config.holdout_scenes is not None:
        depth_kind(train)  # of all scenes, before the draw decides on which side another kind is found
        return hold_out(train, without_depth(train), config.holdout_scenes, config.seed)
    assert config.val is not None, "check_validation"
    with naming_val_where(config):
        return train, ShardSet(config.val, where_of_val(config), cache_settings(config)), ()


def check_validation(config: FinetuneConfig) -> None:
    """Check the options that tell what a run is validated on; opens no set.

    Raises:
        UsageError: There is nothing to validate on, or a query without its set.
    """
    if config.holdout_scenes is not None:
        check_wish(config.holdout_scenes)
    elif config.val is None:
        raise UsageError(
            "expected scenes to validate on, found neither --val nor --holdout-scenes; give --val SET, or take some "
            "scenes out of the training set with --holdout-scenes 3"
        )
    if config.val is None and config.val_where is not None:
        raise UsageError("--val-where selects from --val, and there is none; give --val SET, or leave it out")


def where_of_val(config: FinetuneConfig) -> str | None:
    """Return the query on the validation set."""
    return choose_val_where(config.where, config.val_where)


@contextmanager
def naming_val_where(config: FinetuneConfig) -> Iterator[None]:
    """Name --val-where in the errors of the block that are about the query, which the reader calls --where."""
    try:
        yield
    except UsageError as error:
        if not (text := str(error)).startswith("--where"):
            raise
        is_default = config.val_where is None
        default = " (the default is that of --where: give the validation set its own)" if is_default else ""
        raise UsageError(f"--val-where{text.removeprefix('--where')} of {shown(config.val or '')}{default}") from error


def announce_subsets(subsets: Subsets) -> None:
    """Say what was left out, held out and is shared; nothing in the common case."""
    for name, count in subsets.without_depth.items():
        if count:
            one, left = {"train": ("training", subsets.train), "val": ("validation", subsets.val)}[name]
            say(f"{one} set: views without a valid pixel, left out: {count}; used: {len(left)}")
    if subsets.held_out:
        scenes = ", ".join(subsets.held_out)
        say(f"held out of training, and validated on: {len(subsets.val)} samples of the scenes {scenes}")
    if subsets.shared:
        say(
            f"warning: --allow-overlap: the validation set shares {subsets.shared} with the training set; its metrics "
            "tell what the network remembers, not what it has learned"
        )
