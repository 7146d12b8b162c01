import io
import pickle
import shutil
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from sharding.config import IndexConfig
from sharding.errors import DamagedSample, DataError
from sharding.making.index_tars import run as index_tars
from sharding.reading.shard_set import ShardSet
from training.loading.bad_samples import MARK, BadSample
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.streaming.datasets import StreamedImages
from training.streaming.options import Streaming
from training.views import batch as batch_module
from training.views.batch import DrawCollation, EncodedDataset, read_draws, read_images
from training.views.recipe import ViewRecipe
from training.views.reduced import decode_reduced, read_size

RECIPE = (
    ViewRecipe(height=64, width=64, scale=(0.3, 1.0), ratio=(0.75, 4 / 3)),
    ViewRecipe(height=32, width=32, scale=(0.05, 0.3), ratio=(0.75, 4 / 3), horizontal=0.5),
)
COLLATE = DrawCollation(RECIPE)


@pytest.fixture(scope="module")
def photo_set(photos, encode_image, tmp_path_factory):
    """JPEGs of several sizes, and a PNG, in two tars."""
    root = tmp_path_factory.mktemp("photos")
    (root / "tars").mkdir()
    files = [
        (f"{number:02d}.jpg", encode_image(photos[number % 3][number * 3 : 400, : 500 - 5 * number]))
        for number in range(11)
    ] + [("11.png", encode_image(photos[0][:90, :120], "PNG"))]
    for half in range(2):
        with tarfile.open(root / "tars" / f"{half}.tar", "w") as tar:
            for name, data in files[half::2]:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    index_tars(IndexConfig(tars=str(root / "tars"), set=str(root / "set")))
    return ShardSet(root / "set")


@pytest.fixture(scope="module")
def dataset(photo_set):
    return EncodedDataset(ImageDataset([photo_set], seed=3))


def test_a_batch_holds_of_each_image_what_its_views_show(dataset):
    encoded = dataset.__getitems__([(0, position) for position in range(12)])
    batch = COLLATE(encoded)
    images, draws = read_images(batch), read_draws(batch)
    pixels = batch["pixels"].view(-1, 3).numpy()
    assert batch["filename"] == [one.key for one in encoded]
    assert len(set(images[:, 4])) > 1, "images must be decoded at different sizes"
    end = 0
    for number, one in enumerate(encoded):
        first, width, left, top, divisor = images[number]
        decoded = decode_reduced(one.data, int(divisor), read_size(one.data))
        right = -(-(draws.left + draws.width)[number].max() // divisor)
        bottom = -(-(draws.top + draws.height)[number].max() // divisor)
        assert (left, top) == (draws.left[number].min() // divisor, draws.top[number].min() // divisor)
        part = decoded[top : int(bottom), left : int(right)]
        assert first == end
        assert width == part.shape[1]
        end = first + part.shape[0] * part.shape[1]
        assert np.array_equal(pixels[first:end].reshape(part.shape), part)
    assert len(pixels) == end


def test_all_tensors_are_bytes_which_no_precision_converts(dataset):
    batch = COLLATE([dataset[0, 0]])
    assert {name: value.dtype for name, value in batch.items() if isinstance(value, torch.Tensor)} == dict.fromkeys(
        ("pixels", "images", "draws"), torch.uint8
    )


def epochs(dataset, workers, batch_size=4, start_method="fork"):
    sampler = TrainSampler(len(dataset), batch_size)
    loading = Loading(batch_size=batch_size, num_workers=workers, start_method=start_method)
    found = {}
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in build_loader(dataset, sampler, loading, collate_fn=COLLATE):
            images, draws = read_images(batch), read_draws(batch).pack()
            for number, key in enumerate(batch["filename"]):
                first, width, *rest = images[number].tolist()
                part = batch["pixels"].view(-1, 3)[first:][: width * 10].numpy().tobytes()
                found[epoch, key] = (width, rest, draws[number].tobytes(), part)
    return found


def test_draws_and_pixels_follow_from_seed_epoch_and_sample_alone(dataset):
    alone = epochs(dataset, 0)
    assert len(alone) == 24
    assert epochs(dataset, 2) == alone
    assert epochs(dataset, 0, batch_size=3) == alone
    assert epochs(pickle.loads(pickle.dumps(dataset)), 0) == alone
    assert len({draws for _, _, draws, _ in alone.values()}) == 24


class Naming(DrawCollation):
    """Names beside each batch what its worker has imported of LightlyTrain."""

    def __call__(self, encoded):
        batch = super().__call__(encoded)
        batch["imported"] = [name for name in sys.modules if name.partition(".")[0] in ("lightly_train", "lightning")]
        return batch


@pytest.mark.slow
def test_workers_of_a_fork_server_make_the_same_and_need_no_lightly_train(dataset):
    assert epochs(dataset, 2, start_method="forkserver") == epochs(dataset, 0)
    loading = Loading(batch_size=4, num_workers=1, start_method="forkserver", preload=("training.views.batch",))
    batches = list(build_loader(dataset, TrainSampler(12, 4), loading, collate_fn=Naming(RECIPE)))
    assert [batch["imported"] for batch in batches] == [[], [], []]


def damage(draw):
    """The draw with half of its file, which its header survives."""
    return replace(draw, data=draw.data[: len(draw.data) // 2])


@pytest.mark.parametrize("lost", [{0}, {3}, {0, 1}, {2, 3}, {1, 3}, {0, 2, 3}])
def test_another_image_takes_the_place_of_one_that_does_not_decode(dataset, lost):
    whole = [one for one in dataset.__getitems__([(0, place) for place in range(12)]) if one.key != "11"][:4]
    given = [damage(one) if place in lost else one for place, one in enumerate(whole)]
    with pytest.raises(DamagedSample, match=rf"key {whole[min(lost)].key}: "):
        COLLATE(given)
    batch = DrawCollation(RECIPE, tolerant=True)(given)
    donors = [next(at % 4 for at in range(place, place + 4) if at % 4 not in lost) for place in range(4)]
    expected = COLLATE([replace(whole[donor], seed=one.seed) for donor, one in zip(donors, whole, strict=True)])
    assert batch["filename"] == expected["filename"] == [whole[donor].key for donor in donors]
    assert all(torch.equal(batch[name], expected[name]) for name in ("pixels", "images", "draws"))
    assert {(one.number, one.key) for one in batch[MARK]} == {(whole[at].seed[2], whole[at].key) for at in lost}
    assert len(batch[MARK]) == len(lost)


def test_a_donor_that_does_not_decode_is_replaced_wherever_it_stands_in(dataset):
    whole = [one for one in dataset.__getitems__([(0, place) for place in range(12)]) if one.key != "11"][:3]
    known, broken = BadSample(77, "known", "damaged"), damage(whole[1])
    given = [replace(broken, seed=whole[0].seed, bad=known), broken, whole[2]]
    batch = DrawCollation(RECIPE, tolerant=True)(given)
    assert batch["filename"] == [whole[2].key] * 3
    assert [one.key for one in batch[MARK]] == [whole[1].key]  # the other one is marked by what read it
    with pytest.raises(DataError, match="all 2 samples of a batch are damaged"):
        DrawCollation(RECIPE, tolerant=True)(given[:2])


def test_a_worker_that_dies_while_it_decodes_has_noted_the_image(dataset, monkeypatch):
    noted = []
    monkeypatch.setattr(batch_module, "note", noted.append)
    encoded = dataset.__getitems__([(0, 0), (0, 1)])
    COLLATE(encoded)
    assert noted[-2:] == [f"decoding {one.origin}" for one in encoded]


def test_a_worker_sends_one_block_and_batches_that_are_kept_stay_what_they_are(dataset):
    loader = build_loader(dataset, TrainSampler(12, 2), Loading(batch_size=2, num_workers=1), collate_fn=COLLATE)
    kept = list(loader)
    for number, batch in enumerate(kept):
        tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
        begin = min(one.data_ptr() for one in tensors)
        end = max(one.data_ptr() + one.nbytes for one in tensors)
        assert end - begin <= sum(one.nbytes for one in tensors) + 3 * 64  # padded
        expected = COLLATE(dataset.__getitems__([(0, 2 * number), (0, 2 * number + 1)]))
        assert all(torch.equal(batch[name], expected[name]) for name in ("pixels", "images", "draws"))


def test_reading_ahead_changes_nothing(dataset):
    ahead = Loading(batch_size=4, num_workers=2, ahead_bytes=50_000)
    plain = Loading(batch_size=4, num_workers=2, ahead_bytes=0)
    both = [
        [batch["pixels"].numpy().tobytes() for batch in build_loader(dataset, TrainSampler(12, 4), how, COLLATE)]
        for how in (ahead, plain)
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 3


def test_weights_draw_a_sample_twice_with_other_views(photo_set):
    images = ImageDataset([photo_set, photo_set], [30, 1], seed=1)
    dataset = EncodedDataset(images)
    batch = COLLATE(dataset.__getitems__([(0, position) for position in range(24)]))
    draws = read_draws(batch).pack()
    assert len(set(batch["filename"])) < 24
    assert len(np.unique(draws.reshape(24, -1), axis=0)) == 24


def test_streamed_shards_give_the_same_draws_and_pixels(photo_set, dataset):
    images = StreamedImages([photo_set], Streaming(shuffle_buffer=3), seed=3)
    sampler = TrainSampler(12, 4)
    planned = images.planned(lambda: sampler.upcoming(4), encoded=True)
    assert epochs(EncodedDataset(planned), 0) == epochs(dataset, 0)


def test_a_damaged_image_is_named_with_its_shard(dataset):
    good = dataset.__getitems__([(0, position) for position in range(12)])
    bad = next(number for number, one in enumerate(good) if one.data.startswith(b"\xff\xd8"))
    cut = replace(good[bad], data=good[bad].data[: len(good[bad].data) // 2])
    with pytest.raises(DataError, match=f"shard .*tar.*, key {cut.key}: expected a readable image"):
        COLLATE([*good[:bad], cut, *good[bad + 1 :]])


def test_a_damaged_shard_is_noticed(photo_set, tmp_path):
    shutil.copytree(photo_set.url, tmp_path / "set")
    row = photo_set.index.iloc[2]
    shard = tmp_path / "set" / "shards" / row["shard"]
    content = bytearray(shard.read_bytes())
    content[row["image_offset"] + 600] ^= 255
    shard.write_bytes(content)
    damaged = EncodedDataset(ImageDataset([ShardSet(tmp_path / "set")], seed=3))
    with pytest.raises(DataError, match=f"key {row['key']}"):
        damaged.__getitems__([(0, position) for position in range(12)])
