"""The shared memory of a pre-training loader whose workers make the views, reckoned before they start."""

from sharding.errors import UsageError
from training.loading.loader import Loading
from training.loading.shared_need import PREFETCH, SharedNeed, check_shared_memory
from training.views.recipe import read_recipe

_PIXEL_BYTES = 3 * 4
"""Bytes of a pixel of a view: RGB as float32."""


def check_views_room(transform: object, loading: Loading, batches: int, ranks: int) -> None:
    """Check that the batches of views have room; what an unknown transform makes is not reckoned.

    Args:
        transform: LightlyTrain's.
        loading: How batches are made.
        batches: Number of batches in an epoch of this process.
        ranks: Processes of the run on this machine.

    Raises:
        UsageError: They have not.
    """
    try:
        recipe = read_recipe(transform)
    except UsageError:
        return
    need = SharedNeed(
        purpose=f"{len(recipe)} views an image",
        batch_bytes=loading.batch_size * sum(one.height * one.width for one in recipe) * _PIXEL_BYTES,
        batches=batches,
        workers=loading.num_workers,
        prefetch=loading.prefetch_factor or PREFETCH,
        pinned=loading.pin_memory,
    )
    check_shared_memory([need], ranks, "--batch-size or more gradient_accumulation_steps")
