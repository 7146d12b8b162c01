"""Measure how far views that are made on the device are from LightlyTrain's of the same draws.

Each image is decoded whole, and compared as it is; and stored as a JPEG (q90, 4:2:0) and decoded at the size that
`--views gpu` chooses. What is drawn is the same for both; a difference is the mean over a view, in levels of 255.
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightly_views import make_view, take_transform
from numpy.typing import NDArray
from photographs import find_photographs
from pretrain_bench.photos import encode
from toy_views import add_image_noise, render_view

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.codecs.image import decode_image
from sharding.options import option
from sharding.progress import track
from training.loading.images import EncodedDraw
from training.views.batch import DrawCollation, read_draws, read_images
from training.views.draws import Draws
from training.views.recipe import read_recipe
from training.views.render import ViewRenderer

HEIGHT, WIDTH = 1200, 1600
NOISE = 2.7
"""Standard deviation, in grey levels, of noise that gives a rendered view about the bytes of a photograph."""

Image = NDArray[np.uint8]
Difference = tuple[float, str]
"""Of a view, in levels, and the name of its image."""


@dataclass(frozen=True, kw_only=True)
class MeasureViewsConfig:
    """Options of the measurement."""

    method: Literal["all", "simclr", "dino"] = option("all", "whose views are made")
    augmentation: Literal["default", "conservative", "aggressive"] = option(
        "conservative", "augmentation of the tutorial, or LightlyTrain's defaults"
    )
    images: int = option(6, "rendered views, without --photos", metavar="N", least=1)
    draws: int = option(8, "draws of each image", metavar="N", least=1)
    photos: str | None = option(
        None, "folder of photographs to use instead of rendered views", metavar="DIR", path="local"
    )


def run(config: MeasureViewsConfig) -> Outcome:
    """Measure the differences."""
    files = {name: encode(image) for name, image in _images(config)}
    methods = ("simclr", "dino") if config.method == "all" else (config.method,)
    rows = [row for method in methods for row in _measure(config, method, files)]
    return Outcome(data={"views": rows}, text=_format(rows))


def _images(config: MeasureViewsConfig) -> Iterator[tuple[str, Image]]:
    if config.photos is not None:
        for path in find_photographs(Path(config.photos)):
            yield path.name, decode_image(path.read_bytes())
        return
    for number in track(range(config.images), total=config.images, unit="images", label="rendered"):
        noise = np.random.default_rng(number).normal(0, NOISE, (HEIGHT, WIDTH, 3))
        yield f"rendered {number}", add_image_noise(render_view(number, HEIGHT, WIDTH).image, noise)


def _measure(config: MeasureViewsConfig, method: str, files: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    """Yield a row for each way to decode: views, mean, worst and its image."""
    transform = take_transform(method, None if config.augmentation == "default" else config.augmentation)
    found: dict[str, list[Difference]] = defaultdict(list)
    for number, (name, data) in enumerate(track(files.items(), total=len(files), unit="images", label=method)):
        seeds = range(number * config.draws, (number + 1) * config.draws)
        for whole in (True, False):
            for way, difference in _compare(transform, data, seeds, whole):
                found[way].append((difference, name))
    for way in sorted(found):
        differences = [difference for difference, _ in found[way]]
        worst, name = max(found[way])
        figures = {"mean": round(statistics.mean(differences), 3), "worst": round(worst, 3), "worst_image": name}
        yield {"method": method, "decoded": way, "views": len(differences), **figures}


def _compare(transform: Any, data: bytes, seeds: Sequence[int], whole: bool) -> Iterator[tuple[str, float]]:
    """Yield how an image was decoded, and the difference in levels, for each view of each draw."""
    image = decode_image(data)
    stored = _as_ppm(image) if whole else data
    encoded = [EncodedDraw(key="", data=stored, seed=(0, 0, seed, 0), origin="") for seed in seeds]
    recipe = read_recipe(transform)
    batch = DrawCollation(recipe)(encoded)
    draws, divisors = read_draws(batch), read_images(batch)[:, 4]
    views = ViewRenderer(recipe)(batch, torch.device("cpu"))["views"]
    for number, view in enumerate(transform.transforms):
        level = torch.tensor(recipe[number].factor)[:, None, None]  # in normalised units
        for at in range(len(seeds)):
            theirs = make_view(view, image, drawn_of(draws, at, number))
            difference = float(((views[number][at] - theirs) / level).abs().mean())
            yield "whole" if whole else f"1/{divisors[at]} of the JPEG", difference


def drawn_of(draws: Draws, image: int, view: int) -> dict[str, float]:
    """Return what was drawn for one view of one image, by name."""
    return {one.name: float(getattr(draws, one.name)[image, view]) for one in fields(draws)}


def _as_ppm(image: Image) -> bytes:
    return b"P6\n%d %d\n255\n" % (image.shape[1], image.shape[0]) + image.tobytes()


def _format(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["method  decoded          views   mean  worst (levels of 255)"]
    lines += [
        f"{row['method']:7} {row['decoded']:15} {row['views']:6} {row['mean']:6.3f} {row['worst']:6.3f} "
        f"{row['worst_image']}"
        for row in rows
    ]
    return "\n".join(lines)


COMMAND = Command(
    name="scripts/measure_device_views.py",
    config=MeasureViewsConfig,
    runner=f"{__name__}:run",
    help="measure how far views made on the device are from LightlyTrain's of the same draws",
    examples=(
        "scripts/measure_device_views.py",
        "scripts/measure_device_views.py --augmentation aggressive --photos photographs --json > views.json",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
