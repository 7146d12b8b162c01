"""The data set of LightlyTrain's tutorial "Monocular Depth Estimation with fastai U-Net", and its transforms.

Written anew from its text: image and depth are decoded from loose files, joined as float32, and transformed together,
which turns, crops and flips a tensor of four channels twice over. It reads no mask, so the files of the masks are not
read here either: to read them would make it slower.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sharding.errors import DataError

Transform = Callable[[Tensor], Tensor]

PART_VIEWS = 24
"""Views whose parts are timed."""


def train_transform(side: int) -> T.Compose:
    """Return the transform of training; the tutorial's side is 768."""
    return T.Compose(
        [
            T.RandomRotation(degrees=15),
            T.RandomResizedCrop(size=(side, side), scale=(0.2, 0.9)),
            T.RandomHorizontalFlip(),
        ]
    )


class TutorialItem:
    """Makes an item of a decoded view as the tutorial's data set does.

    Args:
        transform: Of an image and its depth together, float32 (4, H, W).
    """

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, view: Mapping[str, Any]) -> dict[str, Tensor]:
        """Transform `image`, of Pillow, and `depth`, float32 (H, W, 1): float32 (3, h, w) in 0..1, and (1, h, w)."""
        both = self._transform(join(np.array(view["image"].convert("RGB")), view["depth"]))
        return {"image": both[:3], "depth": both[3:4]}


def join(image: NDArray[np.uint8], depth: NDArray[np.float32]) -> Tensor:
    """Join image, uint8 (H, W, 3), and depth, float32 (H, W, 1), to float32 (4, H, W)."""
    # Writable copies are what np.array and np.load give; an array from a peer's buffer need not be one.
    planes = torch.from_numpy(image).permute(2, 0, 1).float() / 255.0
    return torch.cat([planes, torch.from_numpy(np.require(depth, requirements="W")).permute(2, 0, 1).float()], dim=0)


def list_views(source: Path) -> list[tuple[Path, Path]]:
    """Return the files of image and depth of each view, as the tutorial finds them.

    Raises:
        DataError: There are none, or there are more of one kind than of the other.
    """
    images = sorted(source.glob("train/outdoor/**/*.png"))
    depths = sorted(source.glob("train/outdoor/**/*_depth.npy"))
    if not images or len(images) != len(depths):
        raise DataError(f"{source}: expected as many images as depth maps, found {len(images)} and {len(depths)}")
    return list(zip(images, depths, strict=True))


class TutorialDataset(Dataset[dict[str, Tensor]]):
    """Views in loose files."""

    def __init__(self, source: Path, transform: Transform) -> None:
        self._views, self._make = list_views(source), TutorialItem(transform)

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, depth = self._views[index]
        return self._make({"image": Image.open(image), "depth": np.load(depth)})


def tutorial_loader(source: Path, side: int, batch_size: int, num_workers: int) -> "DataLoader[dict[str, Tensor]]":
    """Return the tutorial's loader; its workers live on, which it did not ask for, so that their start is not timed."""
    return DataLoader(
        TutorialDataset(source, train_transform(side)),
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def time_parts(source: Path, side: int) -> dict[str, float]:
    """Time what a sample consists of: median CPU milliseconds of PNG, npy, cat, rotate, crop and flip."""
    torch.set_num_threads(1)  # as in a loader worker
    rotate, crop, flip = train_transform(side).transforms
    rows = [_time_view(*view, [rotate, crop, flip]) for view in list_views(source)[:PART_VIEWS]]
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}


def _time_view(image: Path, depth: Path, warps: Sequence[Transform]) -> dict[str, float]:
    clock = [time.process_time()]

    def passed(value: Any) -> Any:
        clock.append(time.process_time())
        return value

    pixels = passed(np.array(Image.open(image).convert("RGB")))
    metres = passed(np.load(depth))
    both = passed(join(pixels, metres))
    for warp in warps:
        both = passed(warp(both))
    names = ("png", "npy", "cat", "rotate", "crop", "flip")
    return {name: 1000 * (clock[number + 1] - clock[number]) for number, name in enumerate(names)}
