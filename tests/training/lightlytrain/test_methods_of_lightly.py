"""The table of methods, held to the installed release of LightlyTrain by its public doors."""

import re
from pathlib import Path
from urllib.error import URLError

import lightly_train
import pytest
import torch

from sharding.errors import UsageError
from training.config import PretrainConfig
from training.lightlytrain.methods import METHODS, check_method
from training.loading.images import ImageDataset
from training.pretraining.strategy import StreamSingleDevice

MODELS = (
    *("torchvision/resnet18", "torchvision/shufflenet_v2_x0_5", "torchvision/convnext_tiny"),
    *("dinov2/_vittest14", "dinov3/vitt16-notpretrained", "dinov3/_convnexttest"),
    "edgecrafter/_ecvittest-notpretrained",
)
PAIRS = [(method, model) for method, needs in METHODS.items() if needs.teacher is None for model in MODELS]
QUICK = [("dinov2", "torchvision/resnet18"), ("dinov2", "dinov2/_vittest14")]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No reports over the network, no files outside the tests."""
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))


def train(samples, out, method, model, **arguments):
    """Train a step on two images of 112 pixels."""
    images = ImageDataset([samples], seed=0)
    lightly_train.pretrain(
        out=out,
        data=[f"{position}.jpg" for position in range(len(images))],
        strategy=StreamSingleDevice(images, torch.device("cpu")),
        model=model,
        method=method,
        transform_args={"image_size": (112, 112)}
        | ({"local_view": {"view_size": (56, 56)}} if method == "dino" else {}),
        epochs=1,
        batch_size=2,
        num_workers=0,
        accelerator="cpu",
        devices=1,
        loggers={"tensorboard": None},
        trainer_args={"max_steps": 1},
        **arguments,
    )


def accepts(method, model):
    try:
        check_method(PretrainConfig(sets=("set",), out="run", method=method, model=model, image_size=112), 1)
    except UsageError:
        return False
    return True


def test_the_table_has_the_methods_of_the_release(tmp_path):
    with pytest.raises(ValueError, match="Available methods are") as caught:
        lightly_train.pretrain(out=tmp_path / "out", data=[], model="torchvision/resnet18", method="none")
    every = set(re.findall(r"'(\w+)'", str(caught.value).partition("Available")[2]))
    assert set(METHODS) == every
    assert set(lightly_train.list_methods()) == every - {"densecl"}


@pytest.mark.parametrize(
    ("method", "model"), [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in PAIRS]
)
def test_a_method_trains_the_models_it_is_accepted_with_and_no_other(method, model, megadepth_set, tmp_path):
    # A large last layer takes most of the time; LightlyTrain's default for these methods is 65,536.
    small = {"method_args": {"output_dim": 64}} if METHODS[method].transformer else {}
    if accepts(method, model):
        train(megadepth_set, tmp_path / "out", method, model, **small)
        assert (tmp_path / "out" / "exported_models" / "exported_last.pt").is_file()
    else:
        with pytest.raises((AttributeError, TypeError), match=r"make_teacher|NoneType"):
            train(megadepth_set, tmp_path / "out", method, model, **small)


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method, needs in METHODS.items() if needs.teacher is not None])
def test_the_default_teacher_is_that_of_the_release(method, megadepth_set, tmp_path, monkeypatch):
    hosts = []

    def refuse(host, *arguments, **options):
        hosts.append(host)
        raise OSError("no network here")

    with pytest.raises(UsageError) as told:
        check_method(PretrainConfig(sets=("set",), out="run", method=method), 1)
    place = Path(re.search(r"put it at (\S+);", str(told.value))[1])
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises((RuntimeError, URLError)):
        train(megadepth_set, tmp_path / "fetches", method, "torchvision/resnet18")
    assert len(hosts) == 1
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()  # an empty file: it is read, and nothing fetched
    with pytest.raises(EOFError):
        train(megadepth_set, tmp_path / "reads", method, "torchvision/resnet18")
    assert len(hosts) == 1
