"""The input of `bench_shard.py`: generated archives and folders in the layout and the file sizes of the published ones.

A few views of the toy world, with sensor noise, are used under thousands of names. Each JPEG has a comment of its own,
and repeated contents are farther apart than the 32 KB window of deflate, so they compress like different ones.
"""

import io
import os
import random
import struct
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from toy_views import DEPTH_NOISE_M, SEED, add_depth_noise, add_image_noise, render_view

from making_bench.virtual_archive import ArchiveEntry, tar_pieces
from sharding.codecs.hdf5 import write_depth
from sharding.codecs.npy import encode_npy
from sharding.errors import DataError
from sharding.reading.pictures import encode_png
from sharding.toyworld.megadepth import ROOT, photograph, plan_photo, stored_depth

VARIANTS = 3
"""Images of each view, with different noise."""
VIEWS_A_FOLDER = 100
JPEG_QUALITY, PNG_NOISE, JPEG_NOISE = 95, 4.0, (6.0, 9.0, 12.0)
"""Standard deviations of noise in grey levels (of a JPEG by variant): PNG at 768 x 1024 and JPEG at 960 x 1280 become
as large as the published files."""
H5_MANTISSA_BITS_CUT = 5
"""Lowest bits that are cleared, so that a depth map takes about 1 MB of the archive, as in MegaDepth's."""

_START_OF_IMAGE, _COMMENT = b"\xff\xd8", b"\xff\xfe"
_GZIP_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Files of one layout.

    Attributes:
        views: For each distinct view the positions of its files in `bodies`.
        bodies: Contents of files; of a JPEG all but its first two bytes, which `comment_lead` supplies.
        deflated_bytes: Mean bytes of a view in a `.tar.gz`.
    """

    views: list[tuple[int, ...]]
    bodies: list[bytes]
    deflated_bytes: float


def make_contents(files: Iterable[tuple[bytes, ...]]) -> Contents:
    """Make `Contents` of the files of the views; equal files are stored once."""
    numbers: dict[bytes, int] = {}  # content -> its position in `bodies`
    views = [tuple(numbers.setdefault(data, len(numbers)) for data in view) for view in files]
    sizes = [len(zlib.compress(body, _GZIP_LEVEL)) for body in numbers]
    total = sum(sizes[at] for view in views for at in view)
    return Contents(views=views, bodies=list(numbers), deflated_bytes=total / len(views))


@cache
def make_photos(distinct: int, height: int, width: int) -> Contents:
    """Make JPEG and `.h5` of `distinct` photographs of the toy world, `VARIANTS` of each."""
    with ProcessPoolExecutor() as pool:
        made = pool.map(partial(_photo_files, height=height, width=width), range(distinct))
        return make_contents(files for variants in made for files in variants)


def _photo_files(number: int, height: int, width: int) -> list[tuple[bytes, ...]]:
    photo = plan_photo(SEED, number)
    view = photograph(photo, SEED, height, width)
    depth = _h5(_cut(stored_depth(photo, view, SEED)))
    return [(_jpeg(_noisy(view.image, JPEG_NOISE[at], number))[2:], depth) for at in range(VARIANTS)]


def _cut(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clear the lowest `H5_MANTISSA_BITS_CUT` bits of each float32."""
    kept = np.uint32(0xFFFFFFFF << H5_MANTISSA_BITS_CUT & 0xFFFFFFFF)
    return (depth.view(np.uint32) & kept).view(np.float32)


@cache
def make_scans(distinct: int, height: int, width: int) -> Contents:
    """Make PNG, depth and mask of `distinct` views of the toy world in DIODE's form, `VARIANTS` of each."""
    with ProcessPoolExecutor() as pool:
        made = pool.map(partial(_scan_files, height=height, width=width), range(distinct))
        return make_contents(files for variants in made for files in variants)


def _scan_files(number: int, height: int, width: int) -> list[tuple[bytes, ...]]:
    view = render_view(number, height, width)
    noise = np.random.default_rng(number).normal(0, DEPTH_NOISE_M, view.depth.shape)
    depth = encode_npy(add_depth_noise(view.depth, view.mask > 0, noise)[..., None])  # (H, W, 1), as in DIODE
    mask = encode_npy(view.mask)
    return [(encode_png(_noisy(view.image, PNG_NOISE, VARIANTS * number + at)), depth, mask) for at in range(VARIANTS)]


def _noisy(image: NDArray[np.uint8], deviation: float, seed: int) -> NDArray[np.uint8]:
    """Add normal noise with a standard deviation in grey levels to an image (H, W, 3)."""
    return add_image_noise(image, np.random.default_rng(seed).normal(0, deviation, image.shape))


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _h5(depth: NDArray[np.float32]) -> bytes:
    with TemporaryDirectory() as folder:
        write_depth(path := Path(folder) / "depth.h5", depth)
        return path.read_bytes()


def list_photos(contents: Contents, num_views: int) -> list[ArchiveEntry]:
    """List the entries of a MegaDepth archive: in each folder all images, then all depth maps, each kind shuffled.

    The order is that of a file system, not of names. Each JPEG begins with a comment of its own (ITU-T T.81, B.2.4.5).
    """
    entries = []
    for first in range(0, num_views, VIEWS_A_FOLDER):
        numbers = list(range(first, min(first + VIEWS_A_FOLDER, num_views)))
        folder = f"{ROOT.as_posix()}/{first // VIEWS_A_FOLDER:04d}/dense0"
        for part, (name, ext) in enumerate((("imgs", "jpg"), ("depths", "h5"))):
            entries.append(ArchiveEntry(name=f"{folder}/{name}/"))
            random.Random(first + part).shuffle(numbers)
            for number in numbers:
                body = contents.views[number % len(contents.views)][part]
                lead = comment_lead(f"{number:09d}") if part == 0 else b""
                entries.append(ArchiveEntry(name=f"{folder}/{name}/{_stem(number)}.{ext}", lead=lead, body=body))
    return entries


def _stem(number: int) -> str:
    return f"{100_000_000 + number}_{random.Random(number).getrandbits(40):010x}_o"


def comment_lead(text: str) -> bytes:
    """Return the first bytes of a JPEG: start of image and a comment; the JPEG follows without its first two bytes."""
    # The 16-bit big-endian length of a JPEG segment counts itself, but not its marker.
    return _START_OF_IMAGE + _COMMENT + struct.pack(">H", 2 + len(text)) + text.encode()


def list_scans(contents: Contents, num_views: int) -> list[ArchiveEntry]:
    """List the entries of DIODE's train archive; the files of a folder are shuffled, in the order of a file system."""
    entries = []
    for first in range(0, num_views, VIEWS_A_FOLDER):
        scan = first // VIEWS_A_FOLDER
        folder = f"train/outdoor/scene_{7 + scan % 12:05d}/scan_{scan:05d}"
        files = []
        for number in range(first, min(first + VIEWS_A_FOLDER, num_views)):
            azimuth, elevation = divmod(number - first, 6)
            stem = f"{7 + scan % 12:05d}_{scan:05d}_outdoor_{10 * azimuth:03d}_{10 * elevation:03d}"
            bodies = contents.views[number % len(contents.views)]
            endings = (".png", "_depth.npy", "_depth_mask.npy")
            files += [
                ArchiveEntry(name=f"{folder}/{stem}{end}", body=at) for end, at in zip(endings, bodies, strict=True)
            ]
        random.Random(first).shuffle(files)
        entries += [ArchiveEntry(name=f"{folder}/"), *files]
    return entries


def pack_members(entries: Iterable[ArchiveEntry], bodies: Sequence[bytes], archive: Path) -> None:
    """Write a `.tar.gz` as `tar | gzip -6` does: one stream, by the program gzip.

    Raises:
        DataError: gzip failed; a full disk is the usual cause.
    """
    with archive.open("wb") as file:
        gzip = subprocess.Popen(["gzip", f"-{_GZIP_LEVEL}"], stdin=subprocess.PIPE, stdout=file)
        assert gzip.stdin is not None
        with suppress(BrokenPipeError), gzip.stdin as pipe:  # gzip has ended; its status is checked below
            for own, body in tar_pieces(entries, bodies):
                pipe.write(own)
                pipe.write(bodies[body] if body is not None else b"")
        if status := gzip.wait():
            raise DataError(f"{archive}: expected gzip to write it, found exit status {status}: is the disk full?")


def lay_out(entries: Iterable[ArchiveEntry], bodies: Sequence[bytes], root: Path) -> None:
    """Write the entries as files below `root`; repeated contents are hard links to one file."""
    first: dict[int, Path] = {}
    for entry in entries:
        path = root / entry.name
        if entry.name.endswith("/"):
            path.mkdir(parents=True)
        elif entry.body in first:
            os.link(first[entry.body], path)
        elif entry.body is not None:
            path.write_bytes(entry.lead + bodies[entry.body])
            first[entry.body] = path
