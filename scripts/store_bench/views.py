"""Views of the toy world, varied and with a sensor's noise, as DIODE publishes them, and a set of them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from toy_views import DEPTH_NOISE_M, ToyView, add_depth_noise, add_image_noise, render_view

from sharding.config import ShardDiodeConfig
from sharding.format.choices import Compression
from sharding.making.create import shard_diode
from sharding.progress import track

RENDERED = 8
"""Number of views that are rendered; each sample is one of these, shifted sideways, with noise of its own."""


def make_set(target: Path, samples: int, height: int, width: int, compression: Compression) -> None:
    """Write a set with depth, of `samples` views of height x width pixels.

    One process does the work, because more would start the fork server, which the loader must start.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="source-") as source:
        write_source(Path(source), samples, height, width)
        shard_diode(
            ShardDiodeConfig(
                source=source,
                set=str(target),
                split="train",
                shard_size=32_000_000,
                compression=compression,
                workers=1,
            )
        )


def write_source(
    source: Path,
    samples: int,
    height: int,
    width: int,
    *,
    png_level: int = 1,
    pictures: Iterator[NDArray[np.uint8]] | None = None,
) -> None:
    """Write views in the layout and the encodings in which DIODE is published.

    Args:
        source: The folder.
        samples: How many views.
        height: Of each view, pixels.
        width: The same.
        png_level: Effort of the compression of images, 0 to 9.
        pictures: Images to take instead of rendered ones, uint8 (height, width, 3) each; depth is rendered.
    """
    rendered = [render_view(number, height, width) for number in range(min(RENDERED, samples))]
    folder = source / "train" / "outdoor" / "scene_00000" / "scan_00000"
    folder.mkdir(parents=True)
    for number in track(range(samples), total=samples, unit="views", label="views"):
        view = _vary(rendered[number % len(rendered)], np.random.default_rng(number))
        stem = folder / f"00000_00000_outdoor_{number // 1000:03d}_{number % 1000:03d}"
        image = view.image if pictures is None else next(pictures)
        Image.fromarray(image).save(f"{stem}.png", compress_level=png_level)
        np.save(f"{stem}_depth.npy", view.depth[..., None])  # (H, W, 1), as in DIODE
        np.save(f"{stem}_depth_mask.npy", view.mask)


def _vary(view: ToyView, rng: np.random.Generator) -> ToyView:
    """Shift a view sideways, with wraparound, by a random number of pixels, and add noise."""
    shift = int(rng.integers(view.image.shape[1]))
    image, depth = np.roll(view.image, shift, axis=1), np.roll(view.depth, shift, axis=1)
    # Uniform in -3..3 has the standard deviation of IMAGE_NOISE (2 grey levels) and is drawn faster than normal noise.
    grey = rng.integers(-3, 4, image.shape, dtype=np.int16)
    metres = DEPTH_NOISE_M * rng.standard_normal(depth.shape, dtype=np.float32)
    return ToyView(
        image=add_image_noise(image, grey),
        depth=add_depth_noise(depth, depth > 0, metres),
        mask=np.roll(view.mask, shift, axis=1),
    )
