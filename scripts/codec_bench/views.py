"""The input of `profile_codecs.py`: views of the toy world, and photographs and depth maps that its options name."""

import glob
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from toy_views import DEPTH_NOISE_M, IMAGE_NOISE, add_depth_noise, add_image_noise, render_view

from sharding.codecs.image import decode_image, open_image
from sharding.codecs.npy import encode_npy, load_npy
from sharding.errors import DataError, UsageError
from sharding.format.sample import valid_pixels
from sharding.options import option
from sharding.progress import track
from sharding.reading.pictures import encode_png

MAX_ENLARGEMENT = 1.25
"""An image that would have to be enlarged more is skipped: enlarged pixels compress too well."""

Item = tuple[NDArray[Any], ...]
"""(image,), uint8 (H, W, 3); or (depth, valid), float32 in metres and bool, both (H, W)."""
Groups = dict[str, list[Item]]


@dataclass(frozen=True, kw_only=True)
class CodecsConfig:
    """Options of the measurement."""

    images: tuple[str, ...] = option(
        (), "photographs to measure as well as the toy world's images", metavar="GLOB", shown="none"
    )
    depth: tuple[str, ...] = option(
        (),
        "depth maps to measure as well as the toy world's: .npy in metres, or GLOB:N of 16-bit .png, N units a metre",
        metavar="GLOB",
        shown="none",
    )
    samples: int = option(4, "number of toy world views, and of photographs, to measure", metavar="N")
    repeats: int = option(5, "timed repeats, after one that is not timed", metavar="N")
    height: int = option(768, "height of all images and of the toy world's depth", metavar="PX")
    width: int = option(1024, "width of all images and of the toy world's depth", metavar="PX")


def toy_groups(config: CodecsConfig) -> tuple[Groups, Groups]:
    """Make images and depth of the toy world, and its depth with scanner noise: exact planes compress too well."""
    images: list[Item] = []
    clean: list[Item] = []
    noisy: list[Item] = []
    for number in track(range(config.samples), total=config.samples, unit="views", label="toy world"):
        view = render_view(number, config.height, config.width)
        valid = valid_pixels(view.depth, view.mask)
        noise = np.random.default_rng(number).normal(0, DEPTH_NOISE_M, view.depth.shape)
        images.append((view.image,))
        clean.append((view.depth, valid))
        noisy.append((add_depth_noise(view.depth, valid, noise), valid))
    return {"toy world": images}, {"toy world": clean, "toy world + 1 mm": noisy}


def photographs(config: CodecsConfig) -> Groups:
    """Read photographs at the configured size, as they are and with noise: evenly spaced picks from --images."""
    names = sorted(name for pattern in config.images for name in find(pattern))
    fitted = [one for name in names if (one := fit_image(Path(name).read_bytes(), config)) is not None]
    if not fitted:
        return {}
    taken = [fitted[at] for at in np.linspace(0, len(fitted) - 1, min(config.samples, len(fitted))).astype(int)]
    noise = np.random.default_rng(0).normal(0, IMAGE_NOISE, (len(taken), *taken[0].shape))  # (n, H, W, 3)
    noisy = [add_image_noise(one, more) for one, more in zip(taken, noise, strict=True)]
    return {"photographs": [(one,) for one in taken], "photographs + noise": [(one,) for one in noisy]}


def find(pattern: str) -> list[str]:
    """List the files of a pattern, sorted.

    Raises:
        UsageError: There are none.
    """
    if not (names := sorted(glob.glob(pattern))):
        raise UsageError(f"{pattern}: expected files, found none")
    return names


def fit_image(data: bytes, config: CodecsConfig) -> NDArray[np.uint8] | None:
    """Scale an image until it covers --height x --width, and crop its centre; None if it is too small for that."""
    pixels = decode_image(data)
    factor = max(config.height / pixels.shape[0], config.width / pixels.shape[1])
    if factor > MAX_ENLARGEMENT:
        return None
    # Pillow's sizes are (width, height).
    size = max(config.width, round(pixels.shape[1] * factor)), max(config.height, round(pixels.shape[0] * factor))
    x, y = (size[0] - config.width) // 2, (size[1] - config.height) // 2
    scaled = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(scaled.crop((x, y, x + config.width, y + config.height)), dtype=np.uint8)


def depth_groups(config: CodecsConfig) -> Groups:
    """Read a group of depth maps for each pattern of --depth, named after its first file."""
    groups = {}
    for pattern in config.depth:
        path, _, units = pattern.partition(":")
        names = find(path)
        groups[Path(names[0]).stem] = [read_map(name, units) for name in names]
    return groups


def read_map(name: str, units: str) -> Item:
    """Read depth (float32, metres) and valid at their own size: a .npy file in metres, or a 16-bit image.

    Args:
        name: Of the file.
        units: Values of the image that make a metre, as written after the pattern; ignored for .npy.

    Raises:
        UsageError: The units of an image are missing or not a positive integer.
        DataError: The file is not a map (H, W), or has no depth above 0.
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


def count_whole_views(items: list[Item], config: CodecsConfig) -> float:
    """Count the items in views of --height x --width pixels, by their pixels; maps may be of any size."""
    return sum(int(item[0].shape[0] * item[0].shape[1]) for item in items) / (config.height * config.width)


def archive_kilobytes(items: list[Item], config: CodecsConfig) -> float:
    """Estimate the kB (1000 bytes) of a view in the published archive: PNG image, or depth and mask as float32 .npy.

    Each file is deflated at gzip's default level 6, as in a .tar.gz; tar headers are left out.
    """
    views = count_whole_views(items, config)
    if len(items[0]) == 1:  # an image, not (depth, valid)
        files = [encode_png(*item) for item in items]
    else:
        files = [encode_npy(array.astype(np.float32)) for item in items for array in item]
    return sum(len(zlib.compress(one, 6)) for one in files) / views / 1000
