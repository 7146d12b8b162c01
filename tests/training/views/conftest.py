"""LightlyTrain's own transforms, got by its public doors, and photographs of the toy world."""

import io
from collections.abc import Callable
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
    from albumentations.augmentations.blur.functional import create_gaussian_kernel_1d
    from albumentations.augmentations.geometric.functional import center, create_affine_transformation_matrix

    from training.views.draws import ORDERS

    def make(view: Any, image: np.ndarray, one: dict[str, float]) -> torch.Tensor:
        ops = {type(op).__name__.replace("DtypeAware", ""): op for op in view.transform.transforms}
        left, top, width, height = (int(one[name]) for name in ("left", "top", "width", "height"))
        found = ops["RandomResizedCrop"].apply(image, crop_coords=(left, top, left + width, top + height))
        if one["horizontal"]:
            found = ops["HorizontalFlip"].apply(found)
        if one["vertical"]:
            found = ops["VerticalFlip"].apply(found)
        if one["angle"]:
            still = {"x": 0, "y": 0}
            shape = found.shape[:2]
            matrix = create_affine_transformation_matrix(still, still, {"x": 1, "y": 1}, one["angle"], center(shape))
            outside = dict.fromkeys(("x_min", "x_max", "y_min", "y_max"), -1)
            found = ops["Rotate"].apply(found, matrix=matrix, **outside, shape=found.shape)
        factors = {name: one[name] for name in ("brightness", "contrast", "saturation", "hue")}
        if tuple(factors.values()) != (1, 1, 1, 0):
            found = ops["ColorJitter"].apply(found, **factors, order=list(ORDERS[int(one["order"])]))
        if one["grey"]:
            found = ops["ToGray"].apply(found)
        if one["side"] > 1:
            found = ops["GaussianBlur"].apply(found, kernel=create_gaussian_kernel_1d(one["sigma"], int(one["side"])))
        if np.isfinite(one["threshold"]):
            found = ops["Solarize"].apply(found, threshold=one["threshold"])
        return ops["ToTensorV2"].apply(ops["Normalize"].apply(found))

    return make
