"""The photographs of `bench_pretrain_loader.py`, as loose files in MegaDepth's layout, and the sets made of them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from photographs import cut_photographs, find_photographs
from PIL import Image
from toy_views import add_image_noise, render_view

from sharding.config import ShardMegadepthConfig
from sharding.errors import UsageError
from sharding.making.create import shard_megadepth
from sharding.progress import track

HEIGHT, WIDTH = 1200, 1600
QUALITY, SUBSAMPLING = 90, "4:2:0"
LEAST_BYTES, MOST_BYTES = 250_000, 400_000
RENDERED = 6
"""Number of views that are rendered; each image is one of these, shifted sideways, with noise of its own."""

NOISE = 2.7
"""Standard deviation in grey levels that gives a rendered view about the bytes of a photograph."""


def write_photos(folder: Path, count: int, photos: str | None) -> int:
    """Write `count` JPEG files of 1600 x 1200 pixels, q90 4:2:0; return their mean size in bytes.

    Args:
        folder: Where; the files lie in MegaDepth's layout below it.
        count: How many.
        photos: A folder of photographs to cut and scale, repeated as often as needed; None: rendered views.

    Raises:
        UsageError: There are no photographs, or the files are not of 250 to 400 kB on average.
    """
    images = _make_folder(folder)
    pictures = (
        _rendered(count) if photos is None else cut_photographs(find_photographs(Path(photos)), count, HEIGHT, WIDTH)
    )
    sizes = []
    for number, picture in enumerate(track(pictures, total=count, unit="images", label="photographs")):
        data = encode(picture)
        (images / f"{number:06d}.jpg").write_bytes(data)
        sizes.append(len(data))
    mean = sum(sizes) // len(sizes)
    if not LEAST_BYTES <= mean <= MOST_BYTES:
        raise UsageError(
            f"expected images of {LEAST_BYTES // 1000} to {MOST_BYTES // 1000} kB at q{QUALITY} {SUBSAMPLING}, as "
            f"photographs of {WIDTH} x {HEIGHT} pixels have; these have {mean / 1000:.0f} kB: give other --photos"
        )
    return mean


def write_copies(folder: Path, count: int) -> None:
    """Write `count` copies of one rendered JPEG of 128 x 96 pixels, in MegaDepth's layout."""
    data = encode(render_view(0, 96, 128).image)
    images = _make_folder(folder)
    for number in range(count):
        (images / f"{number:06d}.jpg").write_bytes(data)


def link_copies(folder: Path, count: int, scenes: int) -> None:
    """Make `count` links to one rendered JPEG of 32 x 24 pixels, in as many scenes of MegaDepth's layout."""
    data = encode(render_view(0, 24, 32).image)
    for scene in range(scenes):
        images = _make_folder(folder, scene)
        numbers = range(scene, count, scenes)
        for number in numbers:
            target = images / f"{number:06d}.jpg"
            if number == scene:
                target.write_bytes(data)  # a file of each scene's own: a file has at most 65,000 links
            else:
                target.hardlink_to(images / f"{scene:06d}.jpg")


def _make_folder(folder: Path, scene: int = 0) -> Path:
    images = folder / "phoenix" / "S6" / "zl548" / "MegaDepth_v1" / f"{scene:04d}" / "dense0" / "imgs"
    images.mkdir(parents=True)
    return images


def encode(picture: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) RGB as the measured kind of JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    return buffer.getvalue()


def make_set(folder: Path, target: Path, max_side: int | None) -> None:
    """Make a set of the files: of their own bytes, or scaled to `max_side` pixels."""
    shard_megadepth(
        ShardMegadepthConfig(source=str(folder), set=str(target), max_side=max_side, shard_size=32_000_000, workers=1)
    )


def _rendered(count: int) -> Iterator[NDArray[np.uint8]]:
    views = [render_view(number, HEIGHT, WIDTH).image for number in range(min(RENDERED, count))]
    for number in range(count):
        rng = np.random.default_rng(number)
        view = np.roll(views[number % len(views)], int(rng.integers(WIDTH)), axis=1)
        yield add_image_noise(view, NOISE * rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32))
