"""From a batch of pixels and draws to LightlyTrain's batch of views, on any device; never waits for the device."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.views.area import enlarge, shrink
from training.views.batch import read_draws, read_images
from training.views.blur import blur
from training.views.boxes import Boxes, chunk
from training.views.colour import JITTER, solarize, to_grey
from training.views.device import send
from training.views.draws import ORDERS, Draws
from training.views.recipe import ViewRecipe
from training.views.rotate import rotate

_RENDERED = ("pixels", "images", "draws")
"""Entries of a batch that become its views."""


class ViewRenderer:
    """Makes the views of a batch of `DrawCollation`.

    Args:
        recipe: Of the views.
    """

    def __init__(self, recipe: Sequence[ViewRecipe]) -> None:
        self.recipe = tuple(recipe)
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for number, view in enumerate(self.recipe):
            groups[view.height, view.width, view.mean, view.factor].append(number)
        self._groups = list(groups.values())

    def __call__(self, batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """Return `views`, for each view float32 (B, 3, h, w), normalised, on the device, and other entries as they are.

        Args:
            batch: From `DrawCollation`, in memory of the host.
            device: Where to compute.
        """
        images, draws = read_images(batch), read_draws(batch)
        pixels = batch["pixels"].to(device, non_blocking=True).view(-1, 3)
        views: dict[int, Tensor] = {}
        for numbers in self._groups:
            made = _render(pixels, images, draws.select(numbers), self.recipe[numbers[0]])  # (V * B, 3, h, w)
            views |= dict(zip(numbers, made.view(len(numbers), -1, *made.shape[1:]), strict=True))
        rest = {name: value for name, value in batch.items() if name not in _RENDERED}
        return rest | {"views": [views[number] for number in range(len(self.recipe))]}


def _render(pixels: Tensor, images: NDArray[np.int64], draws: Draws, view: ViewRecipe) -> Tensor:
    """Render views of one size: float32 (n, 3, h, w) of n draws; in parts, which bounds the memory."""
    device, boxes = pixels.device, Boxes.locate(images, draws)
    made = torch.empty(len(draws.left), 3, view.height, view.width, device=device)
    mean, factor = (send(one, device, np.float32)[:, None, None] for one in (view.mean, view.factor))
    enlarged = boxes.enlarged(view.height, view.width)
    for resize, places in ((shrink, np.flatnonzero(~enlarged)), (enlarge, np.flatnonzero(enlarged))):
        for part in chunk(boxes.take(places)):
            chosen = places[part]
            some = boxes.take(chosen)
            levels = _change(resize(some.gather(pixels), some, view.height, view.width), draws.take(chosen))
            made.index_copy_(0, send(chosen, device), (levels - mean) * factor)
    return made


def _change(levels: Tensor, draws: Draws) -> Tensor:
    """Apply what follows the crop, in LightlyTrain's order; what nothing was drawn for is left out."""
    if draws.angle.any():
        levels = rotate(levels, draws.angle)
    orders = np.array(ORDERS)[draws.order.astype(np.int64)]  # (n, 4)
    for turn in range(orders.shape[1]):
        for number, (name, change) in enumerate(JITTER):
            factor = getattr(draws, name)
            chosen = (orders[:, turn] == number) & (factor != (0 if name == "hue" else 1))
            levels = _where(chosen, levels, change, send(factor[chosen], levels.device))
    levels = _where(draws.grey > 0, levels, to_grey)
    chosen = draws.side > 1
    levels = _where(chosen, levels, blur, draws.sigma[chosen], draws.side[chosen])
    chosen = np.isfinite(draws.threshold)
    return _where(chosen, levels, solarize, send(draws.threshold[chosen], levels.device))


def _where(chosen: NDArray[np.bool_], levels: Tensor, change: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Change the chosen views, in place."""
    if not chosen.any():
        return levels
    index = send(np.flatnonzero(chosen), levels.device)
    return levels.index_copy_(0, index, change(levels[index], *arguments))
