"""The set that `bench_store.py` measures on: views of the toy world, varied and with the noise of sensors."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.config import ShardDiodeConfig
from sharding.format.choices import Compression
from sharding.making.create import shard_diode
from sharding.progress import track
from sharding.toyworld.diode import lay_traps, place_view, plan_view
from sharding.toyworld.view import render

RENDERED = 8
"""Views that are rendered; the others are these, turned around the camera, with other noise."""

IMAGE_NOISE, DEPTH_NOISE_M = 2.0, 0.001
"""Standard deviations of what a sensor adds: grey levels, and metres. Without it views compress too well."""

Arrays = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
"""Image (H, W, 3), depth (H, W, 1) in metres, mask (H, W)."""


def make_set(target: Path, samples: int, height: int, width: int, compression: Compression) -> None:
    """Write a set with depth, of `samples` views of height x width pixels.

    One process does it: others would start the fork server, which is the loader's to start.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="source-") as source:
        _write_source(Path(source), samples, height, width)
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


def _write_source(source: Path, samples: int, height: int, width: int) -> None:
    """The views, laid out and encoded as DIODE is published."""
    rendered = [_render(number, height, width) for number in range(min(RENDERED, samples))]
    folder = source / "train" / "outdoor" / "scene_00000" / "scan_00000"
    folder.mkdir(parents=True)
    for number in track(range(samples), total=samples, unit="views", label="views"):
        image, depth, mask = _vary(rendered[number % len(rendered)], np.random.default_rng(number))
        stem = folder / f"00000_00000_outdoor_{number // 1000:03d}_{number % 1000:03d}"
        Image.fromarray(image).save(f"{stem}.png", compress_level=1)
        np.save(f"{stem}_depth.npy", depth)
        np.save(f"{stem}_depth_mask.npy", mask)


def _render(number: int, height: int, width: int) -> Arrays:
    view = plan_view("train", number)
    scene, camera, _ = place_view(view, 0)
    seen = render(scene, camera, height, width)
    depth, mask = lay_traps(view, seen, 0, Counter())
    return seen.image, depth.reshape(height, width, 1), mask.reshape(height, width).astype(np.float32)


def _vary(view: Arrays, rng: np.random.Generator) -> Arrays:
    turn = int(rng.integers(view[0].shape[1]))
    image, depth, mask = np.roll(view[0], turn, axis=1), np.roll(view[1], turn, axis=1), np.roll(view[2], turn, axis=1)
    noise = rng.integers(-3, 4, image.shape, dtype=np.int16)  # uniform, of IMAGE_NOISE: quicker than a normal one
    noisy = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    shaken = depth + DEPTH_NOISE_M * rng.standard_normal(depth.shape, dtype=np.float32)
    return noisy, np.where(depth > 0, shaken, depth).astype(np.float32), mask
