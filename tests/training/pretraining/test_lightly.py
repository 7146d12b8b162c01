import dataclasses
import hashlib
import pickle
from types import SimpleNamespace

import lightly_train
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from sharding.errors import DataError, UsageError
from tests.damage import damaged_copy
from training.loading.bad_samples import MARK
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order
from training.loading.sampler import TrainSampler
from training.pretraining.augmentations import get_transform_args
from training.pretraining.lightly import stream_arguments
from training.pretraining.reseed import Reseed
from training.pretraining.strategy import StreamDDP, StreamSingleDevice
from training.pretraining.views import ViewDataset

SMALL = {"model": "torchvision/resnet18", "loggers": {"tensorboard": None}, "accelerator": "cpu", "devices": 1}


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """No reports over the network, no files outside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
        patch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path_factory.mktemp("lightly-cache")))
        yield


@pytest.fixture(scope="module")
def images(megadepth_set):
    return ImageDataset([megadepth_set], seed=7)


class Taken(Exception):
    """LightlyTrain's loader has been taken; nothing is to be trained."""


class Taker(StreamSingleDevice):
    def process_dataloader(self, dataloader):
        self.taken = dataloader
        raise Taken


@pytest.fixture(scope="module", params=["simclr", "dino"])
def their_loader(request, images, tmp_path_factory):
    """LightlyTrain's own loader, of PNG files that hold the first images of the stream, with aggressive views."""
    folder = tmp_path_factory.mktemp("files")
    for position in range(4):
        Image.fromarray(images[0, position].image).save(folder / f"{position}.png")
    strategy = Taker(images, torch.device("cpu"))
    transform_args = get_transform_args("aggressive") | {"image_size": (32, 32)}
    with pytest.raises(Taken):
        lightly_train.pretrain(
            out=tmp_path_factory.mktemp("run"),
            data=[str(folder / f"{position}.png") for position in range(4)],
            strategy=strategy,
            method=request.param,
            transform_args=transform_args,
            epochs=1,
            batch_size=4,
            num_workers=0,
            **SMALL,
        )
    return strategy.taken


def fingerprint(views):
    return [hashlib.md5(view.numpy().tobytes()).hexdigest() for view in views]


def test_items_are_those_lightly_makes_of_files(images, their_loader):
    transform = their_loader.dataset.transform
    ours = ViewDataset(images, transform)
    for position in range(4):
        with Reseed(transform)(images[0, position].seed):
            theirs = their_loader.dataset[position]
        item = ours[0, position]
        assert item.keys() == theirs.keys()
        assert [view.shape for view in item["views"]] == [view.shape for view in theirs["views"]]
        assert fingerprint(item["views"]) == fingerprint(theirs["views"])
        assert item["filename"] == images[0, position].key


def test_views_depend_on_seed_epoch_and_sample_alone(images, their_loader):
    ours = ViewDataset(images, their_loader.dataset.transform)
    copy = pickle.loads(pickle.dumps(ours))
    first = [fingerprint(item["views"]) for item in ours.__getitems__([(0, position) for position in range(8)])]
    again = [fingerprint(copy[0, position]["views"]) for position in reversed(range(8))]
    assert again[::-1] == first
    later = {ours.images[1, position].key: fingerprint(ours[1, position]["views"]) for position in range(len(images))}
    seen = [code for codes in [*first, *later.values()] for code in codes]
    assert len(set(seen)) == len(seen)


class Alike(ImageDataset):
    """The stream with every image replaced by the same one: whatever differs is the randomness of the views."""

    def iterate(self, positions):
        image = next(super().iterate([(0, 0)])).image
        for draw in super().iterate(positions):
            yield dataclasses.replace(draw, image=image)


def view_codes(dataset, workers, start_method="fork", batch_size=4):
    """Fingerprints of the views of two epochs, with a fresh pool of workers for each."""
    sampler = TrainSampler(len(dataset), batch_size)
    preload = ("lightly_train", "training.pretraining.strategy")
    loading = Loading(batch_size=batch_size, num_workers=workers, start_method=start_method, preload=preload)
    codes = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in build_loader(dataset, sampler, loading):
            codes += [code for views in batch["views"] for code in fingerprint(views)]
    return codes


def test_workers_change_nothing_and_no_view_is_ever_repeated(megadepth_set, their_loader):
    alike = Alike([megadepth_set], seed=7)
    dataset = ViewDataset(alike, their_loader.dataset.transform)
    alone = view_codes(dataset, 0)
    assert view_codes(dataset, 2) == alone
    assert len(set(alone)) == len(alone) == 2 * len(alike) * len(dataset[0, 0]["views"])


@pytest.mark.slow
def test_workers_of_a_fork_server_change_nothing(megadepth_set, their_loader):
    dataset = ViewDataset(ImageDataset([megadepth_set], seed=7), their_loader.dataset.transform)
    assert view_codes(dataset, 2, "forkserver") == view_codes(dataset, 0)


def test_without_the_repair_workers_and_epochs_repeat_each_other(megadepth_set, their_loader):
    # If this fails, LightlyTrain or albumentations seed their workers now, and `Reseed` is still right but less needed.
    alike = Alike([megadepth_set], seed=7)
    dataset = ViewDataset(alike, their_loader.dataset.transform, seeding=lambda seed: None)
    codes = view_codes(dataset, 2)
    assert len(codes) == 2 * len(alike) * len(dataset[0, 0]["views"])
    assert codes[: len(codes) // 2] == codes[len(codes) // 2 :]
    assert len(set(codes)) <= len(codes) // 4


class Recorder(StreamSingleDevice):
    """Trains on one device and keeps what it was given, step by step."""

    def __init__(self, images, device, stop_before=None):
        super().__init__(images, device)
        self.keys, self.views, self.stop_before = [], [], stop_before

    def batch_to_device(self, batch, device=None, dataloader_idx=0):
        if len(self.keys) == self.stop_before:
            raise KeyboardInterrupt
        self.keys.append(list(batch["filename"]))
        self.views.append(fingerprint(batch["views"]))
        return super().batch_to_device(batch, device, dataloader_idx)


def train(images, out, stop_before=None, **options):
    """Train two epochs of simclr in batches of 8; return what was fed and the final weights."""
    recorder = Recorder(images, torch.device("cpu"), stop_before)
    lightly_train.pretrain(
        out=out,
        data=[f"{position}.jpg" for position in range(len(images))],
        strategy=recorder,
        method="simclr",
        epochs=2,
        batch_size=8,
        transform_args=get_transform_args("conservative") | {"image_size": (32, 32)},
        **SMALL,
        **options,
    )
    return recorder, torch.load(out / "exported_models" / "exported_last.pt", weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """What a run without workers is fed, and the weights it ends with."""
    return train(images, tmp_path_factory.mktemp("alone"), num_workers=0)


@pytest.mark.slow
def test_each_epoch_is_the_order_of_the_set_whatever_the_workers(images, alone, tmp_path):
    recorded, weights = alone
    helped, same = train(images, tmp_path, num_workers=2)
    expected = [
        [images[epoch, position].key for position in range(first, first + 8)]
        for epoch in range(2)
        for first in range(0, len(images) - 7, 8)
    ]
    assert recorded.keys == helped.keys == expected
    assert recorded.views == helped.views
    assert equal(weights, same)


@pytest.mark.slow
def test_micro_batches_are_the_order_of_the_set_cut_into_steps(images, tmp_path):
    # Batches of 8, two a step: the samples of whole steps of 16, in the same order.
    recorded, _ = train(images, tmp_path, num_workers=0, gradient_accumulation_steps=2)
    expected = [
        [images[epoch, position].key for position in range(first, first + 8)]
        for epoch in range(2)
        for first in range(0, len(images) // 16 * 16, 8)
    ]
    assert recorded.keys == expected
    assert recorded.trainer.global_step == 2 * (len(images) // 16)


@pytest.mark.slow
def test_a_run_stopped_in_its_second_epoch_ends_with_the_same_weights(images, alone, tmp_path):
    recorded, weights = alone
    steps = len(images) // 8
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(images, tmp_path, num_workers=0, stop_before=steps + 1)
    rest, resumed = train(images, tmp_path, num_workers=0, resume_interrupted=True)
    assert rest.keys == recorded.keys[steps:]
    assert rest.views == recorded.views[steps:]
    assert equal(resumed, weights)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_lightlys_own_step_checkpoints_are_resumed_where_they_stand(images, alone, tmp_path, workers):
    # Without the count in them, LightlyTrain would train on the first samples of the epoch again, never on the last.
    recorded, weights = alone
    steps, every = len(images) // 8, 2
    checkpoints = {"model_checkpoint": {"every_n_train_steps": every, "save_last": True}}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(images, tmp_path, num_workers=workers, stop_before=steps + 2, callbacks=checkpoints)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)["callbacks"]["SampleCounter"]
    done = saved["epoch"] * steps + saved["samples_consumed"] // 8
    assert saved["samples_consumed"] not in (0, steps * 8), "the checkpoint must be one in the middle of an epoch"
    rest, resumed = train(images, tmp_path, num_workers=workers, resume_interrupted=True, callbacks=checkpoints)
    assert rest.keys == recorded.keys[done:]
    assert rest.views == recorded.views[done:]
    assert equal(resumed, weights)


@pytest.mark.slow
def test_the_seed_of_the_run_is_that_of_order_views_and_steps(megadepth_set, tmp_path):
    keys, weights = [], []
    for number, given in enumerate([None, 5]):
        arguments = stream_arguments(megadepth_set, seed=given, devices=1, accelerator="cpu")
        strategy, keys_of_run = arguments["strategy"], []

        def note(batch, device=None, dataloader_idx=0, keys_of_run=keys_of_run):
            keys_of_run.append(list(batch["filename"]))
            return batch

        strategy.batch_to_device = note
        lightly_train.pretrain(
            **SMALL | arguments, out=tmp_path / str(number), method="simclr", epochs=1, batch_size=8, seed=5,
            num_workers=0, transform_args={"image_size": (32, 32)},
        )  # fmt: skip
        assert strategy.counter.state.seed == 5
        keys.append(keys_of_run)
        weights.append(torch.load(tmp_path / str(number) / "exported_models/exported_last.pt", weights_only=True))
    images = ImageDataset([megadepth_set], seed=5)
    expected = [[images[0, position].key for position in range(at, at + 8)] for at in range(0, len(images) - 7, 8)]
    assert keys == [expected, expected]
    assert equal(*weights)
    assert [ImageDataset([megadepth_set], seed=0)[0, position].key for position in range(8)] != expected[0]


@pytest.mark.parametrize(
    ("channels", "mode", "said"),
    [
        (4, "RGB", "num_channels is 4: images of sets are decoded to 3"),
        (3, "UNCHANGED", "IMAGE_MODE=UNCHANGED: images"),
    ],
)
def test_images_that_would_not_be_rgb_are_refused(images, channels, mode, said):
    named = Named(len(images))
    named.num_channels, named.image_mode = channels, SimpleNamespace(value=mode)
    with pytest.raises(UsageError, match=said):
        StreamSingleDevice(images, torch.device("cpu")).process_dataloader(DataLoader(named))


def test_stream_arguments_name_every_sample_and_choose_the_strategy(megadepth_set):
    arguments = stream_arguments(megadepth_set, devices=1, accelerator="cpu")
    assert sorted(arguments) == ["accelerator", "data", "devices", "num_nodes", "strategy"]
    assert arguments["data"] == [f"{key}.jpg" for key in megadepth_set.index["key"]]
    assert isinstance(arguments["strategy"], StreamSingleDevice)
    assert (arguments["devices"], arguments["accelerator"]) == (1, "cpu")
    several = stream_arguments([megadepth_set.url, megadepth_set], weights=[2, 1], devices=2, accelerator="cpu")
    assert len(several["data"]) == len(several["strategy"].images) == 2 * len(megadepth_set)
    assert isinstance(several["strategy"], StreamDDP)
    assert several["devices"] == 2
    key = megadepth_set.index["key"].iloc[3]
    assert stream_arguments(megadepth_set.url, where=f"key == '{key}'", accelerator="cpu")["data"] == [f"{key}.jpg"]
    with pytest.raises(UsageError, match="where: an open set is a subset already"):
        stream_arguments(megadepth_set, where=f"key == '{key}'", accelerator="cpu")


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_batches_for_a_gpu_are_page_locked_though_lightly_never_asks_for_it(megadepth_set, device, pinned):
    images = ImageDataset([megadepth_set], seed=0)
    strategy = StreamSingleDevice(images, torch.device(device))
    strategy.trainer = SimpleNamespace(world_size=1, num_devices=1, accumulate_grad_batches=1)
    theirs = DataLoader(Named(len(images)), batch_size=4, shuffle=True, drop_last=True)
    assert not theirs.pin_memory
    assert strategy.process_dataloader(theirs).pin_memory is pinned


def test_the_timeout_of_lightlys_loader_does_not_end_a_read_that_is_retried(images):
    strategy = StreamSingleDevice(images, torch.device("cpu"))
    strategy.trainer = SimpleNamespace(world_size=1, num_devices=1, accumulate_grad_batches=1)
    theirs = DataLoader(Named(len(images)), batch_size=4, num_workers=1, timeout=180, shuffle=True, drop_last=True)
    ours = strategy.process_dataloader(theirs)
    assert (ours.num_workers, ours.timeout) == (1, 0)


def test_a_damaged_image_gets_views_of_another_one_by_its_own_seed(megadepth_set, their_loader, tmp_path):
    order = epoch_order(megadepth_set.shard_sizes, seed=7, epoch=0)
    damaged = damaged_copy(tmp_path / "set", megadepth_set, [order[1]])
    transform, whole = their_loader.dataset.transform, ImageDataset([megadepth_set], seed=7)
    items = list(ViewDataset(ImageDataset([damaged], seed=7, tolerant=True), transform).__getitems__([(0, 1), (0, 2)]))
    with Reseed(transform)(whole[0, 1].seed):
        expected = transform({"image": whole[0, 2].image})
    own = ViewDataset(whole, transform)[0, 2]
    assert fingerprint(items[0]["views"]) == fingerprint(view["image"] for view in expected)
    assert fingerprint(items[1]["views"]) == fingerprint(own["views"])
    assert not set(fingerprint(items[0]["views"])) & set(fingerprint(items[1]["views"]))
    assert items[0].pop(MARK).key == whole[0, 1].key
    assert items[0].keys() == items[1].keys() == own.keys()


class Named(torch.utils.data.Dataset):
    """Like LightlyTrain's data set: as many names, and a transform."""

    def __init__(self, count):
        self.count, self.transform = count, lambda item: [item]
        self.num_channels, self.image_mode = 3, SimpleNamespace(value="RGB")

    def __len__(self):
        return self.count


def test_a_loader_unlike_lightlys_is_refused(images, their_loader):
    strategy = StreamSingleDevice(images, torch.device("cpu"))
    with pytest.raises(DataError, match="whose dataset has a transform, found DataLoader of list"):
        strategy.process_dataloader(DataLoader([1, 2]))
    with pytest.raises(DataError, match=f"expected {len(images)} names, one a sample of the sets; LightlyTrain has 4"):
        strategy.process_dataloader(their_loader)
