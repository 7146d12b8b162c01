"""LightlyTrain's own transforms, got by its public doors, and photographs of the toy world."""

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sharding.toyworld.megadepth import photograph, plan_photo
from training.pretraining.augmentations import get_transform_args
from training.pretraining.strategy import StreamSingleDevice


class Taken(Exception):
    """LightlyTrain's loader has been taken; nothing is to be trained."""


class Taker(StreamSingleDevice):
    def process_dataloader(self, dataloader):
        self.taken = dataloader
        raise Taken


class Names:
    """Stands for images that are never read."""

    seed = 0


@pytest.fixture(scope="session")
def take_transform(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A function from a method and transform arguments to the transform that LightlyTrain makes of them."""
    import lightly_train

    def take(method: str, transform_args: dict[str, Any] | None = None, model: str = "torchvision/resnet18") -> Any:
        strategy = Taker(Names(), torch.device("cpu"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
            patch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
            with pytest.raises(Taken):
                lightly_train.pretrain(
                    out=tmp_path_factory.mktemp("run"),
                    data=["0.jpg", "1.jpg"],
                    strategy=strategy,
                    model=model,
                    method=method,
                    transform_args=transform_args,
                    epochs=1,
                    batch_size=2,
                    num_workers=0,
                    accelerator="cpu",
                    devices=1,
                    loggers={"tensorboard": None},
                )
        return strategy.taken.dataset.transform

    return take


class Transforms(dict[tuple[str, str], Any]):
    """The transforms of (method, choice), made when they are asked for; choice: "default", or an augmentation."""

    def __init__(self, take: Callable[..., Any]) -> None:
        super().__init__()
        self._take = take

    def __missing__(self, key: tuple[str, str]) -> Any:
        method, choice = key
        self[key] = self._take(method, None if choice == "default" else get_transform_args(choice))
        return self[key]


@pytest.fixture(scope="session")
def transforms(take_transform: Callable[..., Any]) -> Transforms:
    """LightlyTrain's transforms by method and augmentation."""
    return Transforms(take_transform)


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Three photographs, uint8 (H, W, 3) of about 600 x 800."""
    return [photograph(plan_photo(0, number), 0, 600, 800).image for number in range(3)]


def encode(image: np.ndarray, kind: str = "JPEG", **options: Any) -> bytes:
    """Encode as a camera does: quality 90, colour at half resolution."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": 90, "subsampling": 2} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode_image() -> Callable[..., bytes]:
    """The function `encode`."""
    return encode


@pytest.fixture(scope="session")
def their_view() -> Callable[..., torch.Tensor]:
    """A function from one of LightlyTrain's views, an image and our draws to the view that albumentations makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
        return importlib.import_module("lightly_views").make_view
