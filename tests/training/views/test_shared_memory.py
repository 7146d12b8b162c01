import pytest

from sharding.errors import UsageError
from training.loading.loader import Loading
from training.views.shared_memory import check_views_room


def test_the_views_of_a_batch_are_reckoned_before_a_worker_makes_them(transforms, shared_memory):
    transform = transforms["dino", "default"]  # 2 views of 224 x 224, 6 of 96 x 96
    loading = Loading(batch_size=64, num_workers=4, prefetch_factor=3, pin_memory=True)
    pixels = 2 * 224 * 224 + 6 * 96 * 96
    whole = 12 * (64 * pixels * 12 + 4096) + 4 * 65536  # whole pages, one more of each batch, and the queues
    shared_memory(whole)
    check_views_room(transform, loading, batches=100, ranks=1)
    shared_memory(whole - 1)
    with pytest.raises(
        UsageError, match=r"\(12 batches of 119\.5 MB for 8 views an image\).* a smaller --batch-size or"
    ):
        check_views_room(transform, loading, batches=100, ranks=1)
    check_views_room(transform, loading, batches=11, ranks=1)
    with pytest.raises(UsageError, match="in each of 2 processes"):
        check_views_room(transform, loading, batches=11, ranks=2)


def test_what_an_unknown_transform_makes_is_not_reckoned(shared_memory):
    shared_memory(1)
    check_views_room(object(), Loading(batch_size=64, num_workers=4), batches=100, ranks=1)
