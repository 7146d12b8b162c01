from dataclasses import fields

import pytest

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig, ProfileConfig
from training.depth_options import AugmentOptions
from training.depth_sets.views import make_augment
from training.finetuning.batches import split_batch
from training.loading.augment import PairedAugment
from training.loading.order import epoch_order
from training.profiling.check import check_profile
from training.profiling.work import Turn, check_room, plan_work

VIEWS = [
    {},
    {"height": 40, "width": 56, "scale": 0.5, "rotation": 3.0, "zoom": "1,2", "flip": 0.25, "jitter": "0.1"},
    {"augment": "tutorial", "rotation": 0.0},
]


@pytest.mark.parametrize("options", VIEWS)
def test_views_are_those_of_finetune_with_the_same_options(diode_sets, options):
    work = plan_work(diode_sets[0], ProfileConfig(set="", **options))
    assert work.paired
    assert work.view == make_augment(FinetuneConfig(set="", out="", **options))


def test_options_have_the_defaults_of_finetune():
    profile, finetune = ProfileConfig(set=""), FinetuneConfig(set="", out="")
    names = [one.name for one in fields(AugmentOptions)]
    assert names == ["height", "width", "scale", "augment", "rotation", "zoom", "flip", "jitter"]
    assert [getattr(profile, name) for name in names] == [getattr(finetune, name) for name in names]
    alone = split_batch(finetune.batch_size, 1, finetune.micro_batch, fitting=10**9)
    assert profile.batch_size == alone.micro_batch == 32


@pytest.mark.parametrize(("samples", "asked", "batch"), [(100, 32, 32), (100, 64, 40), (6, 32, 6), (20, 8, 8)])
def test_a_batch_is_as_large_as_asked_or_all_samples(diode_sets, plan, samples, asked, batch):
    work = plan(diode_sets[0], samples, batch_size=asked)
    assert work.batch_size == batch
    assert [place for places in work.batches() for place in places] == list(range(min(samples, 40)))
    assert {len(places) for places in work.batches()[:-1]} <= {batch}


@pytest.mark.parametrize(
    ("samples", "batch", "workers", "batches", "epochs"),
    [
        (8, 8, 2, 5, 2),  # 8 batches are wanted, and 5 are in the set
        (8, 2, 2, 8, 1),
        (8, 1, 1, 8, 1),  # all samples that are measured
        (40, 32, 2, 1, 8),  # whole batches alone
        (3, 3, 0, 1, 1),
    ],
)
def test_every_worker_makes_several_batches_in_a_turn(diode_sets, plan, samples, batch, workers, batches, epochs):
    work = plan(diode_sets[0], samples, batch_size=batch)
    turn = work.turn(workers)
    assert turn == Turn(batch_size=batch, batches=batches, epochs=epochs)
    index, sizes = diode_sets[0].index, diode_sets[0].shard_sizes
    rows = [row for epoch in range(epochs) for row in epoch_order(sizes, 0, epoch)[: batches * batch]]
    columns = ["image_bytes", "depth_bytes", "valid_bytes"]
    assert work.turn_bytes(turn) == sum(int(index[columns].iloc[row].sum()) for row in rows)


def test_local_samples_with_depth_are_read_one_by_one_and_others_together(diode_sets, image_set, plan):
    assert plan(diode_sets[0]).read_together([3, 1, 2]) == [[3], [1], [2]]
    assert plan(image_set).read_together([3, 1, 2]) == [[3, 1, 2]]


def test_images_alone_have_the_size_that_most_have(image_set, plan):
    work = plan(image_set)
    sizes = image_set.index.groupby(["height", "width"]).size()
    assert len(sizes) > 1
    assert not work.paired
    assert sizes[work.view.size] == sizes.max()
    assert work.view == PairedAugment(height=work.view.height, width=work.view.width)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"height": 64}, "--height: "), ({"augment": "tutorial", "flip": 0.0}, "--augment, --flip: ")],
)
def test_options_of_views_are_refused_for_images_alone(image_set, options, named):
    message = rf"^{named}.*{len(image_set)} of {len(image_set)} samples of .* have none.*leave (it|them) out$"
    with pytest.raises(UsageError, match=message):
        check_profile(ProfileConfig(set=image_set.url, **options))
    check_profile(ProfileConfig(set=image_set.url, batch_size=3))


def test_workers_without_room_are_refused_before_they_start(diode_sets, plan, shared_memory):
    shared_memory(64 * 2**20)
    work = plan(diode_sets[0], 40, height=768, width=768)  # 40 views of 4.7 MB: 32 a batch
    with pytest.raises(UsageError, match=r"6 batches of 151\.0 MB for the whole chain.*a smaller --batch-size"):
        check_room(work, 2)
    check_room(work, 0)
    check_room(plan(diode_sets[0], 40, height=768, width=768, batch_size=1), 2)


def test_a_subset_with_depth_is_measured_as_finetune_sees_it(make_foreign):
    opened = make_foreign(range(3), deep=[1])
    with pytest.raises(UsageError, match=r"2 of 3 samples.*--where \"depth_ext != ''\"$"):
        plan_work(opened, ProfileConfig(set="", zoom="1,2"))
    deep = plan_work(ShardSet(opened.url, "depth_ext != ''"), ProfileConfig(set="", zoom="1,2"))
    assert (deep.paired, deep.samples, deep.view.zoom) == (True, 1, (1.0, 2.0))
