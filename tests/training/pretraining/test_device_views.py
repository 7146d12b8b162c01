"""Pretraining with views on the device, through LightlyTrain; here the device is the CPU."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightly_train
import pytest
import torch
import torchvision
from torch.utils.data import DataLoader

from sharding.errors import UsageError
from training.config import PretrainConfig
from training.launch.devices import place
from training.loading.images import ImageDataset
from training.pretraining.augmentations import get_transform_args
from training.pretraining.lightly import stream_arguments
from training.pretraining.pretrain import run
from training.pretraining.strategy import StreamSingleDevice, make_strategy

SMALL = {"model": "torchvision/resnet18", "loggers": {"tensorboard": None}, "accelerator": "cpu", "devices": 1}


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """No reports over the network, no files outside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
        patch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path_factory.mktemp("lightly-cache")))
        yield


class Recorder(StreamSingleDevice):
    """Trains on one device, and keeps what LightlyTrain's step is given."""

    def __init__(self, images, device, stop_before=None):
        super().__init__(images, device)
        self.fed, self.forms, self.stop_before, self.views_on = [], [], stop_before, "gpu"

    def batch_to_device(self, batch, device=None, dataloader_idx=0):
        if len(self.fed) == self.stop_before:
            raise KeyboardInterrupt
        made = super().batch_to_device(batch, device, dataloader_idx)
        codes = [hashlib.md5(view.numpy().tobytes()).hexdigest() for view in made["views"]]
        self.fed.append((made["filename"], codes))
        self.forms.append({"filename": type(made["filename"]), "views": [form(view) for view in made["views"]]})
        return made


class Watcher(Recorder):
    """As above, with views of the CPU."""

    def __init__(self, images, device):
        super().__init__(images, device)
        self.views_on = "cpu"


def form(view):
    return tuple(view.shape), view.dtype, view.is_contiguous(), view.device.type


def train(images, out, recorder=Recorder, stop_before=None, method="simclr", **options):
    """Train two epochs in batches of 8; return what was fed and the final weights."""
    strategy = recorder(images, torch.device("cpu"), *([stop_before] if stop_before is not None else []))
    transform_args = get_transform_args("aggressive") | {"image_size": (32, 32)}
    if method == "dino":
        transform_args["local_view"] = {"view_size": (16, 16), "num_views": 2}
    lightly_train.pretrain(
        out=out,
        data=[f"{position}.jpg" for position in range(len(images))],
        strategy=strategy,
        method=method,
        epochs=2,
        batch_size=8,
        transform_args=transform_args,
        **SMALL,
        **options,
    )
    return strategy, torch.load(out / "exported_models" / "exported_last.pt", weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def images(megadepth_set):
    return ImageDataset([megadepth_set], seed=7)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """What a run without workers is fed, and the weights it ends with."""
    return train(images, tmp_path_factory.mktemp("alone"), num_workers=0)


@pytest.mark.slow
def test_the_order_is_that_of_the_set_and_no_view_is_repeated(images, alone):
    recorded, weights = alone
    expected = [
        [images[epoch, position].key for position in range(first, first + 8)]
        for epoch in range(2)
        for first in range(0, len(images) - 7, 8)
    ]
    assert [keys for keys, _ in recorded.fed] == expected
    codes = [code for _, codes in recorded.fed for code in codes]
    assert len(set(codes)) == len(codes)
    assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.slow
def test_workers_change_nothing(images, alone, tmp_path):
    recorded, weights = alone
    helped, same = train(images, tmp_path, num_workers=2)
    assert helped.fed == recorded.fed
    assert equal(same, weights)


@pytest.mark.slow
def test_a_run_stopped_in_its_second_epoch_is_fed_the_same_and_ends_the_same(images, alone, tmp_path):
    recorded, weights = alone
    steps = len(images) // 8
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(images, tmp_path, num_workers=0, stop_before=steps + 1)
    rest, resumed = train(images, tmp_path, num_workers=0, resume_interrupted=True)
    assert rest.fed == recorded.fed[steps:]
    assert equal(resumed, weights)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_the_step_is_given_a_batch_of_the_form_that_views_of_the_cpu_have(images, tmp_path, method):
    device, _ = train(images, tmp_path / "device", num_workers=0, method=method)
    host, _ = train(images, tmp_path / "host", Watcher, num_workers=0, method=method)
    assert device.forms == host.forms


class Seen(Exception):
    """The first batch was seen."""


class FirstBatch(StreamSingleDevice):
    """Ends a run at its first batch: LightlyTrain's picture of it cannot be drawn from bfloat16."""

    views_on = "gpu"

    def batch_to_device(self, batch, device=None, dataloader_idx=0):
        made = super().batch_to_device(batch, device, dataloader_idx)
        self.forms = {form(view) for view in made["views"]}
        raise Seen


def test_a_run_in_bfloat16_is_given_views_of_it(images, tmp_path):
    strategy = FirstBatch(images, torch.device("cpu"))
    with pytest.raises(Seen):
        lightly_train.pretrain(
            out=tmp_path,
            data=[f"{position}.jpg" for position in range(len(images))],
            strategy=strategy,
            method="simclr",
            epochs=1,
            batch_size=8,
            num_workers=0,
            precision="bf16-true",
            transform_args={"image_size": (32, 32)},
            **SMALL,
        )
    assert strategy.forms == {((8, 3, 32, 32), torch.bfloat16, True, "cpu")}


def test_stream_arguments_choose_where_views_are_made(megadepth_set):
    arguments = {"devices": 1, "accelerator": "cpu"}
    assert stream_arguments(megadepth_set, **arguments)["strategy"].views_on == "cpu"
    assert stream_arguments(megadepth_set, **arguments, views="gpu")["strategy"].views_on == "gpu"


def test_a_transform_that_is_not_understood_is_refused_by_name(images, tmp_path):
    strategy = make_strategy(images, place("cpu", 1), views="gpu")
    dropping = {"channel_drop": {"num_channels_keep": 3, "weight_drop": (1.0, 1.0, 0.0, 0.0)}, "num_channels": 3}
    with pytest.raises(UsageError, match="--views gpu does not make SimCLRTransform: the operation ChannelDrop"):
        lightly_train.pretrain(
            out=tmp_path,
            data=[f"{position}.jpg" for position in range(len(images))],
            strategy=strategy,
            method="simclr",
            epochs=1,
            batch_size=8,
            num_workers=0,
            transform_args=dropping,
            **SMALL,
        )


def config(sets, out, **options):
    small = {"model": "torchvision/resnet18", "method": "simclr", "epochs": 1, "batch_size": 8, "image_size": 32}
    machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1", "views": "gpu"}
    return PretrainConfig(sets=sets, out=str(out), **small | machine | options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"method": "dino"},
        pytest.param({"weights": "1,3", "num_workers": 2}, marks=pytest.mark.slow),
        pytest.param({"reader": "webdataset", "num_workers": 1}, marks=pytest.mark.slow),
        pytest.param({"method": "densecl", "augmentation": "aggressive"}, marks=pytest.mark.slow),
    ],
    ids=lambda options: next(iter(options.values())),
)
def test_the_command_makes_an_encoder(megadepth_set, diode_sets, tmp_path, options):
    sets = (megadepth_set.url, diode_sets[0].url)
    outcome = run(config(sets, tmp_path / "run", **options))
    encoder = torch.load(outcome.data["encoder"], weights_only=True)
    torchvision.models.resnet18().load_state_dict(encoder, strict=True)
    assert outcome.data["steps"] == (len(megadepth_set) + len(diode_sets[0])) // 8
    assert all(torch.isfinite(value).all() for value in encoder.values())
    assert encoder["bn1.num_batches_tracked"] > 0


RECORD = """
import hashlib, json, sys
from training.pretraining import strategy
from training.__main__ import main

def recorded(self, batch, device=None, dataloader_idx=0, inner=strategy.StreamStrategy.batch_to_device):
    made = inner(self, batch, device, dataloader_idx)
    with open(sys.argv[sys.argv.index("--out") + 1] + ".jsonl", "a") as file:
        for at, key in enumerate(made["filename"]):
            codes = [hashlib.md5(view[at].numpy().tobytes()).hexdigest() for view in made["views"]]
            file.write(json.dumps([key, codes]) + "\\n")
    return made

strategy.StreamStrategy.batch_to_device = recorded
if __name__ == "__main__":
    sys.exit(main())
"""


def views_of(script, megadepth_set, out, devices):
    """The views of each sample of two epochs, of all ranks, sorted."""
    command = [sys.executable, str(script), "pretrain", megadepth_set.url, "--out", str(out), "--views", "gpu"]
    options = {"method": "dino", "model": "torchvision/resnet18", "epochs": 2, "batch-size": 8, "image-size": 64}
    options |= {"num-workers": 1, "devices": devices, "accelerator": "cpu"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    ended = subprocess.run([*command, *words], capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return sorted(map(json.loads, Path(f"{out}.jsonl").read_text().splitlines()))


@pytest.mark.slow
def test_two_processes_make_the_views_of_one(megadepth_set, tmp_path):
    script = tmp_path / "record.py"
    script.write_text(RECORD)
    one, two = (views_of(script, megadepth_set, tmp_path / f"run{count}", count) for count in (1, 2))
    assert len(one) == 2 * (len(megadepth_set) // 8) * 8
    assert one == two


class Named(torch.utils.data.Dataset):
    """Like LightlyTrain's data set: as many names, a transform, and the images that it would read."""

    transform, num_channels, image_mode = staticmethod(lambda item: [item]), 3, SimpleNamespace(value="RGB")

    def __len__(self):
        return 24

    def __getitem__(self, number):
        raise AssertionError("never read")


def test_a_collate_fn_of_the_users_is_refused(images):
    strategy = make_strategy(images, place("cpu", 1), views="gpu")
    strategy.trainer = SimpleNamespace(world_size=1, accumulate_grad_batches=1)
    assert len(images) == 24
    with pytest.raises(UsageError, match="collate_fn"):
        strategy.process_dataloader(DataLoader(Named(), batch_size=4, shuffle=True, drop_last=True, collate_fn=list))
