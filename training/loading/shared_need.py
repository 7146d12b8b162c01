"""The shared memory that loaders will fill, reckoned before a worker starts; needs no torch.

Workers pass their batches on in blocks of shared memory that they use again (`training.loading.shared_batch`). Each of
W workers has P batches made or begun; if batches are not copied to page-locked memory, the trainer has one more of
each worker at some time, since a worker begins its next batch when it hands one over. A single worker makes the batch
that the trainer takes next, too, while the trainer still has the one before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharding.errors import UsageError
from sharding.machine.shared_memory import FOLDER, free_bytes, whole_bytes
from sharding.reading.shard_set import ShardSet

PREFETCH = 2
"""Batches that a worker makes in advance: torch's number."""

VIEW_PIXEL_BYTES = 3 + 4 + 1
"""Bytes of a pixel of an image with depth: RGB as uint8, depth as float32, valid as bool."""

_PAGE = 4096  # bytes; a block is of whole pages, and has one more for what is small in a batch
_WORKER_BYTES = 16 * _PAGE  # the semaphores of its queues: 3 pages, and 8 of all workers
_ROW_BYTES = 16  # of a sample: its id, and its place in the order of an epoch
_MORE_PARTS = 4  # of these are both, the stamp of the order, and what `training.launch.whereabouts` keeps


@dataclass(frozen=True, kw_only=True)
class SharedNeed:
    """What one loader of a process needs.

    Attributes:
        purpose: What it is for, such as "training".
        batch_bytes: Largest batch.
        batches: Number of batches in an epoch of this process: there are never more.
        workers: Number of loader processes.
        prefetch: Batches that each makes in advance.
        pinned: Whether batches are copied to page-locked memory at once.
        index_bytes: Index and order of its set.
    """

    purpose: str
    batch_bytes: int
    batches: int
    workers: int
    prefetch: int = PREFETCH
    pinned: bool = False
    index_bytes: int = 0

    @property
    def slots(self) -> int:
        """Number of batches that are in shared memory at once."""
        held = 0 if self.pinned else max(self.workers, 2)
        return min(self.workers * self.prefetch + held, self.batches) if self.workers else 0

    @property
    def block_bytes(self) -> int:
        """Bytes of the shared memory of a batch."""
        return (-(-self.batch_bytes // _PAGE) + 1) * _PAGE

    @property
    def total(self) -> int:
        """Bytes of shared memory."""
        return self.slots * self.block_bytes + self.workers * _WORKER_BYTES + self.index_bytes


def index_bytes(samples: ShardSet) -> int:
    """Return the bytes of what a loader's workers have of an index in common."""
    columns = [np.asarray(column[:]) for column in samples.reader.columns.values()]
    pages = _PAGE * (len(columns) + _MORE_PARTS)  # each is rounded up
    return sum(column.nbytes for column in columns) + _ROW_BYTES * len(samples) + pages


def check_shared_memory(needs: Sequence[SharedNeed], ranks: int = 1, smaller: str = "") -> None:
    """Check that the loaders of this machine's processes fit into what is free; nothing is, without workers.

    Args:
        needs: Of the loaders of a process that live at the same time.
        ranks: Processes of the run on this machine.
        smaller: An option that makes batches smaller, such as "--micro-batch"; "" if there is none.

    Raises:
        UsageError: They do not fit.
    """
    free, needed = free_bytes(), _total(needs, ranks)
    if free is None or needed <= free or not any(one.workers for one in needs):
        return
    batches = " and ".join(_describe(one) for one in needs if one.slots)
    each = f" in each of {ranks} processes" if ranks > 1 else ""
    remedies = [f"docker run --shm-size={_docker_size(needed, free)}", _fewer(needs, ranks, free)]
    if smaller:
        remedies.append(f"a smaller {smaller}")
    raise UsageError(
        f"the loader's workers need {needed / 1e6:,.0f} MB of shared memory ({batches}{each}), {FOLDER} has "
        f"{free / 1e6:,.0f} MB free: give it more ({remedies[0]}), or give {' or '.join(remedies[1:])}"
    )


def _describe(need: SharedNeed) -> str:
    batches = "1 batch" if need.slots == 1 else f"{need.slots} batches"
    return f"{batches} of {need.batch_bytes / 1e6:,.1f} MB for {need.purpose}"


def _total(needs: Sequence[SharedNeed], ranks: int) -> int:
    return ranks * sum(one.total for one in needs)


def _docker_size(needed: int, free: int) -> str:
    """Return a size with room for what is needed beside what is there: whole GiB."""
    return f"{math.ceil(((whole_bytes() or free) - free + needed) / 2**30)}g"


def _fewer(needs: Sequence[SharedNeed], ranks: int, free: int) -> str:
    """Return the most workers that fit."""
    most = max(one.workers for one in needs)
    fits = next(
        (few for few in range(most - 1, 0, -1) if _total([replace(one, workers=few) for one in needs], ranks) <= free),
        0,
    )
    return f"--num-workers {fits}"
