"""Batches of images at native size, as an evaluation loads them; needs no torch."""

from typing import TYPE_CHECKING

from sharding.reading.shard_set import ShardSet
from training.loading.shared_need import VIEW_PIXEL_BYTES, SharedNeed, index_bytes

if TYPE_CHECKING:
    import pandas as pd

    from sharding.format.index_rows import IndexRows

BATCH_PIXELS = 1024 * 768
"""Pixels that are predicted at once: one DIODE view."""


def native_batch(rows: "IndexRows | pd.DataFrame") -> int:
    """Choose a batch size for images at native size: 1 if they differ in size, otherwise what fits `BATCH_PIXELS`."""
    sizes = rows[["height", "width"]].drop_duplicates()
    return max(1, BATCH_PIXELS // int(sizes.prod(axis=1).iloc[0])) if len(sizes) == 1 else 1


def native_need(samples: ShardSet, workers: int, pinned: bool, ranks: int = 1) -> SharedNeed:
    """Reckon the shared memory of a loader of images at native size, by the largest of them.

    Args:
        samples: The set, or subset.
        workers: Loader processes of a rank.
        pinned: Whether batches are copied to page-locked memory.
        ranks: Processes over which the images are spread.
    """
    share = -(-len(samples) // ranks)  # rounded up, as the number of batches below
    batch = min(native_batch(samples.rows), share)
    largest = int((samples.rows["height"].astype("int64") * samples.rows["width"].astype("int64")).max())
    return SharedNeed(
        purpose="images at native size",
        batch_bytes=batch * largest * VIEW_PIXEL_BYTES,
        batches=-(-share // batch),
        workers=workers,
        pinned=pinned,
        index_bytes=index_bytes(samples),
    )
