"""The shared memory of a fine-tuning run, reckoned before anything is written; needs no torch."""

from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.depth_sets.subsets import Subsets
from training.evaluation.native_size import native_need
from training.finetuning.batches import BatchSplit
from training.launch.launcher import find_started
from training.loading.shared_need import VIEW_PIXEL_BYTES, SharedNeed, check_shared_memory, index_bytes
from training.streaming.options import streaming_options


def check_room(config: FinetuneConfig, subsets: Subsets, split: BatchSplit, *, pinned: bool) -> None:
    """Check that the loaders of training and validation, whose workers live together, have room.

    Args:
        config: Options.
        subsets: What is trained and validated on.
        split: How the batch is split.
        pinned: Whether batches are copied to page-locked memory.

    Raises:
        UsageError: They have not.
    """
    started = find_started()
    needs = (
        _views_need(config, subsets.train, split, pinned),
        native_need(subsets.val, config.num_workers, pinned, split.world),
    )
    check_shared_memory(needs, started.here if started else split.world, "--micro-batch")


def _views_need(config: FinetuneConfig, train: ShardSet, split: BatchSplit, pinned: bool) -> SharedNeed:
    return SharedNeed(
        purpose="training",
        batch_bytes=split.micro_batch * config.height * config.width * VIEW_PIXEL_BYTES,
        batches=len(train) // config.batch_size * split.accumulation,
        workers=config.num_workers,
        pinned=pinned,
        index_bytes=0 if streaming_options(config) else index_bytes(train),
    )
