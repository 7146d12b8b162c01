"""What `profile_codecs.py` measures on: views of the toy world, and photographs and depth maps that are given."""

import glob
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.codecs.image import decode_image, open_image
from sharding.codecs.npy import encode_npy, load_npy
from sharding.errors import DataError, UsageError
from sharding.format.sample import valid_pixels
from sharding.options import option
from sharding.progress import track
from sharding.reading.pictures import encode_png
from sharding.toyworld.diode import lay_traps, place_view, plan_view
from sharding.toyworld.view import render

MAX_ENLARGEMENT = 1.25
"""An image that would have to be enlarged more is left out: enlarged pixels compress too well."""
IMAGE_NOISE, DEPTH_NOISE_M = 2.0, 0.001
"""Standard deviations of what a sensor adds: grey levels, and metres of a scanner's range."""

Item = tuple[NDArray[Any], ...]
"""(image,) or (depth, valid)."""
Groups = dict[str, list[Item]]


@dataclass(frozen=True, kw_only=True)
class CodecsConfig:
    """Options of the measurement."""

    images: tuple[str, ...] = option((), "photographs to measure besides the toy world's", metavar="GLOB", shown="none")
    depth: tuple[str, ...] = option(
        (),
        "depth to measure besides the toy world's: .npy in metres, or GLOB:N of 16-bit .png, N a metre",
        metavar="GLOB",
        shown="none",
    )
    samples: int = option(4, "views of the toy world, and photographs, to measure", metavar="N")
    repeats: int = option(5, "timed repeats, after one that is not timed", metavar="N")
    height: int = option(768, "of the images and of the toy world", metavar="PX")
    width: int = option(1024, "of the images and of the toy world", metavar="PX")


def toy_groups(config: CodecsConfig) -> tuple[Groups, Groups]:
    """Images and depth of the toy world; and its depth with the noise of a scanner, for exact planes are too easy."""
    images: list[Item] = []
    clean: list[Item] = []
    noisy: list[Item] = []
    for number in track(range(config.samples), total=config.samples, unit="views", label="toy world"):
        view = plan_view("train", number)
        scene, camera, _ = place_view(view, 0)
        seen = render(scene, camera, config.height, config.width)
        depth, mask = lay_traps(view, seen, 0, Counter())
        valid = valid_pixels(depth, mask)
        noise = np.random.default_rng(number).normal(0, DEPTH_NOISE_M, depth.shape)
        images.append((seen.image,))
        clean.append((depth, valid))
        noisy.append((np.where(valid, depth + noise, depth).astype(np.float32), valid))
    return {"toy world": images}, {"toy world": clean, "toy world + 1 mm": noisy}


def photographs(config: CodecsConfig) -> Groups:
    """Photographs of the wanted size, as they are and with noise, evenly taken from those that --images names."""
    names = sorted(name for pattern in config.images for name in find(pattern))
    fitted = [one for name in names if (one := fit_image(Path(name).read_bytes(), config)) is not None]
    if not fitted:
        return {}
    taken = [fitted[at] for at in np.linspace(0, len(fitted) - 1, min(config.samples, len(fitted))).astype(int)]
    noise = np.random.default_rng(0).normal(0, IMAGE_NOISE, (len(taken), *taken[0].shape))
    noisy = [np.rint(one + more).clip(0, 255).astype(np.uint8) for one, more in zip(taken, noise, strict=True)]
    return {"photographs": [(one,) for one in taken], "photographs + noise": [(one,) for one in noisy]}


def find(pattern: str) -> list[str]:
    """Files of a pattern.

    Raises:
        UsageError: There are none.
    """
    if not (names := sorted(glob.glob(pattern))):
        raise UsageError(f"{pattern}: expected files, found none")
    return names


def fit_image(data: bytes, config: CodecsConfig) -> NDArray[np.uint8] | None:
    """Scale until it covers --height x --width, and cut its middle out; None if it is too small for that."""
    pixels = decode_image(data)
    factor = max(config.height / pixels.shape[0], config.width / pixels.shape[1])
    if factor > MAX_ENLARGEMENT:
        return None
    size = max(config.width, round(pixels.shape[1] * factor)), max(config.height, round(pixels.shape[0] * factor))
    x, y = (size[0] - config.width) // 2, (size[1] - config.height) // 2
    scaled = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(scaled.crop((x, y, x + config.width, y + config.height)), dtype=np.uint8)


def depth_groups(config: CodecsConfig) -> Groups:
    """A group for each pattern of --depth, called like its first file."""
    groups = {}
    for pattern in config.depth:
        path, _, units = pattern.partition(":")
        names = find(path)
        groups[Path(names[0]).stem] = [read_map(name, units) for name in names]
    return groups


def read_map(name: str, units: str) -> Item:
    """A depth map at its own size, of a .npy file in metres or a 16-bit image of `units` a metre: float32 and valid.

    Raises:
        UsageError: The units are missing or no number.
        DataError: There is no depth in it.
    """
    data = Path(name).read_bytes()
    if name.endswith(".npy"):
        depth = load_npy(data).astype(np.float32)
    elif not units.isdigit() or int(units) == 0:
        raise UsageError(f"{name}: expected units a metre after the pattern (GLOB:1000), found {units!r}")
    else:
        with open_image(data) as picture:
            depth = (np.asarray(picture) / float(units)).astype(np.float32)
    if depth.ndim != 2 or not (valid := valid_pixels(depth)).any():
        raise DataError(f"{name}: expected a map (H, W) with depth above 0, found {depth.shape} without")
    return depth, valid


def count_views(items: list[Item], config: CodecsConfig) -> float:
    """How many views of --height x --width pixels the items amount to."""
    return sum(int(item[0].shape[0] * item[0].shape[1]) for item in items) / (config.height * config.width)


def archive_kilobytes(items: list[Item], config: CodecsConfig) -> float:
    """What the source files of a view take in a .tar.gz: PNG images; depth and mask as float32 .npy."""
    views = count_views(items, config)
    if len(items[0]) == 1:
        files = [encode_png(*item) for item in items]
    else:
        files = [encode_npy(array.astype(np.float32)) for item in items for array in item]
    return sum(len(zlib.compress(one, 6)) for one in files) / views / 1000
