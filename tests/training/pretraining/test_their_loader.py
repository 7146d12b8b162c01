import re
from types import SimpleNamespace

import lightly_train
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from sharding.errors import UsageError
from training.loading.images import ImageDataset
from training.pretraining.lightly import stream_arguments
from training.pretraining.strategy import StreamSingleDevice
from training.pretraining.their_loader import loading_like, take_transform


class Named(Dataset):
    """Like LightlyTrain's data set: as many names, and a transform."""

    def __init__(self, count):
        self.count, self.transform = count, lambda item: [item]
        self.num_channels, self.image_mode = 3, SimpleNamespace(value="RGB")

    def __len__(self):
        return self.count


def theirs(count=8, **changed):
    """A loader as LightlyTrain makes it."""
    made = {"batch_size": 4, "shuffle": True, "num_workers": 2, "drop_last": True, "timeout": 180}
    made |= changed
    return DataLoader(Named(count), **{name: value for name, value in made.items() if value is not None})


@pytest.fixture(scope="module")
def images(megadepth_set):
    return ImageDataset([megadepth_set], seed=7)


def test_what_nobody_set_is_what_suits_the_sets(images):
    loading = loading_like(theirs(), images, {}, page_locked=True)
    assert (loading.batch_size, loading.num_workers, loading.timeout_s) == (4, 2, 0)
    assert (loading.start_method, loading.persistent_workers, loading.pin_memory) == ("auto", True, True)
    assert loading.prefetch_factor == 2  # torch's


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_can_be_honoured_is_read_off_the_loader(images, method):
    given = {"prefetch_factor": 5, "pin_memory": True, "timeout": 7.0, "multiprocessing_context": method}
    loading = loading_like(theirs(**given), images, {}, page_locked=False)
    assert (loading.prefetch_factor, loading.pin_memory, loading.timeout_s) == (5, True, 7.0)
    assert loading.start_method == method


def test_what_a_loader_cannot_tell_is_as_it_was_given(images):
    given = {"pin_memory": False, "persistent_workers": False}
    loading = loading_like(theirs(**given), images, given, page_locked=True)
    assert (loading.pin_memory, loading.persistent_workers) == (False, False)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"drop_last": False}, "drop_last"),
        ({"shuffle": False}, "shuffle or sampler"),
        ({"shuffle": None, "sampler": SequentialSampler(range(8))}, "shuffle or sampler"),
        (dict.fromkeys(("batch_size", "shuffle", "drop_last")) | {"batch_sampler": [[0, 1]]}, "batch_sampler"),
        ({"collate_fn": list}, "collate_fn"),
        ({"generator": torch.Generator()}, "generator"),
        ({"in_order": False}, "in_order"),
        ({"pin_memory_device": "cuda"}, "pin_memory_device"),
        ({"worker_init_fn": print}, "worker_init_fn"),
    ],
)
def test_what_would_change_the_batches_is_refused_by_name(changed, name):
    with pytest.raises(UsageError, match=f"loader_args: {name} cannot be set: "):
        take_transform(theirs(**changed), 8)
    take_transform(theirs(), 8)


def test_a_forked_worker_of_a_remote_set_is_refused():
    remote = SimpleNamespace(remote=True)
    with pytest.raises(UsageError, match="a set behind a URL does not survive a fork; give forkserver"):
        loading_like(theirs(multiprocessing_context="fork"), remote, {}, page_locked=False)
    assert loading_like(theirs(), remote, {}, page_locked=False).start_method == "auto"


def test_a_step_of_more_samples_than_the_sets_have_says_what_it_is_made_of(images):
    strategy = StreamSingleDevice(images, torch.device("cpu"))
    strategy.trainer = SimpleNamespace(world_size=2, accumulate_grad_batches=3)
    batch = len(images) // 6 + 1
    said = f"a step of 3 micro-batches of {batch} samples on each of 2 devices has {6 * batch} samples, and the sets "
    with pytest.raises(UsageError, match=re.escape(said + str(len(images)))):
        strategy.process_dataloader(theirs(len(images), batch_size=batch))


class Made(Exception):
    """Our loader has been made; nothing is to be trained."""


class Maker(StreamSingleDevice):
    def process_dataloader(self, dataloader):
        self.made = super().process_dataloader(dataloader)
        raise Made


def pretrain(megadepth_set, out, monkeypatch, **options):
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(out / "cache"))
    stream = stream_arguments(megadepth_set, devices=1, accelerator="cpu")
    stream["strategy"] = Maker(stream["strategy"].images, torch.device("cpu"))
    small = {"model": "torchvision/shufflenet_v2_x0_5", "method": "simclr", "loggers": {"tensorboard": None}}
    with pytest.raises((Made, UsageError)) as raised:
        lightly_train.pretrain(**stream, **small, out=out / "run", epochs=1, batch_size=8, num_workers=2, **options)
    return stream["strategy"], raised


def test_the_line_in_a_script_of_ones_own_honours_or_refuses_as_the_command_does(megadepth_set, tmp_path, monkeypatch):
    given = {"prefetch_factor": 5, "timeout": 9, "multiprocessing_context": "forkserver"}
    strategy, raised = pretrain(megadepth_set, tmp_path, monkeypatch, loader_args=given)
    assert raised.type is Made
    made = strategy.made
    assert (made.prefetch_factor, made.timeout, made.persistent_workers) == (5, 9, True)
    assert made.multiprocessing_context.get_start_method() == "forkserver"
    _, raised = pretrain(megadepth_set, tmp_path / "other", monkeypatch, loader_args={"drop_last": False})
    assert str(raised.value) == "loader_args: drop_last cannot be set: an epoch is made of whole global batches"
