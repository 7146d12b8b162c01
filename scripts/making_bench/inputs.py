"""What `bench_shard.py` measures on: generated archives and folders that look like the published ones.

A few views of the toy world, with the noise of a sensor, are used under thousands of names. Each JPEG holds a comment
of its own, and what repeats lies farther apart than the 32 KB that gzip looks back.
"""

import io
import os
import random
import struct
import subprocess
import zlib
from collections import Counter
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

from making_bench.virtual_archive import ArchiveEntry, tar_pieces
from sharding.codecs.hdf5 import write_depth
from sharding.codecs.npy import encode_npy
from sharding.errors import DataError
from sharding.reading.pictures import encode_png
from sharding.toyworld import render
from sharding.toyworld.diode import lay_traps, place_view, plan_view
from sharding.toyworld.megadepth import ROOT, photograph, plan_photo, stored_depth

SEED = 0
VARIANTS = 3
"""Pictures of a view: the noise differs."""
VIEWS_A_FOLDER = 100
JPEG_QUALITY, PNG_NOISE, JPEG_NOISE = 95, 4.0, (6.0, 9.0, 12.0)
"""Grey levels of noise: at 768 x 1024 and at 960 x 1280 they give files as large as the published ones."""
DEPTH_NOISE_M = 0.001
H5_MANTISSA_BITS_CUT = 5
"""So that a depth map takes about 1 MB of the archive, as in MegaDepth's."""

_START_OF_IMAGE, _COMMENT = b"\xff\xd8", b"\xff\xfe"
_GZIP_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Files of one layout.

    Attributes:
        views: For each distinct view the numbers in `bodies` of its files.
        bodies: Contents of files; of a JPEG all but its first two bytes.
        deflated_bytes: What a view takes in a `.tar.gz`, on average.
    """

    views: list[tuple[int, ...]]
    bodies: list[bytes]
    deflated_bytes: float


def make_contents(files: Iterable[tuple[bytes, ...]]) -> Contents:
    """Number the files of the views; what is equal has one number."""
    numbers: dict[bytes, int] = {}
    views = [tuple(numbers.setdefault(data, len(numbers)) for data in view) for view in files]
    sizes = [len(zlib.compress(body, _GZIP_LEVEL)) for body in numbers]
    total = sum(sizes[at] for view in views for at in view)
    return Contents(views=views, bodies=list(numbers), deflated_bytes=total / len(views))


@cache
def make_photos(distinct: int, height: int, width: int) -> Contents:
    """JPEG and `.h5` of `distinct` photographs of the toy world, `VARIANTS` of each."""
    with ProcessPoolExecutor() as pool:
        made = pool.map(partial(_photo_files, height=height, width=width), range(distinct))
        return make_contents(files for variants in made for files in variants)


def _photo_files(number: int, height: int, width: int) -> list[tuple[bytes, ...]]:
    photo = plan_photo(SEED, number)
    view = photograph(photo, SEED, height, width)
    depth = _h5(_cut(stored_depth(photo, view, SEED)))
    return [(_jpeg(add_noise(view.image, JPEG_NOISE[at], number))[2:], depth) for at in range(VARIANTS)]


def _cut(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    kept = np.uint32(0xFFFFFFFF << H5_MANTISSA_BITS_CUT & 0xFFFFFFFF)
    return (depth.view(np.uint32) & kept).view(np.float32)


@cache
def make_scans(distinct: int, height: int, width: int) -> Contents:
    """PNG, depth and mask of `distinct` views of the toy world in DIODE's form, `VARIANTS` of each."""
    with ProcessPoolExecutor() as pool:
        made = pool.map(partial(_scan_files, height=height, width=width), range(distinct))
        return make_contents(files for variants in made for files in variants)


def _scan_files(number: int, height: int, width: int) -> list[tuple[bytes, ...]]:
    view = plan_view("train", number)
    scene, camera, _ = place_view(view, SEED)
    seen = render(scene, camera, height, width)
    depth, mask = lay_traps(view, seen, SEED, Counter())
    noise = np.random.default_rng(number).normal(0, DEPTH_NOISE_M, depth.shape)
    noisy = np.where(mask > 0, depth + noise, depth).astype(np.float32)
    flat = encode_npy(noisy[..., None]), encode_npy(mask.astype(np.float32))
    return [(encode_png(add_noise(seen.image, PNG_NOISE, VARIANTS * number + at)), *flat) for at in range(VARIANTS)]


def add_noise(image: NDArray[np.uint8], deviation: float, seed: int) -> NDArray[np.uint8]:
    """`image`, uint8 (H, W, 3), with normal noise of so many grey levels."""
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _h5(depth: NDArray[np.float32]) -> bytes:
    with TemporaryDirectory() as folder:
        write_depth(path := Path(folder) / "depth.h5", depth)
        return path.read_bytes()


def list_photos(contents: Contents, num_views: int) -> list[ArchiveEntry]:
    """Entries of a MegaDepth archive: in each folder all images, then all depth maps, both as a file system lists them.

    Each JPEG begins with a comment (ITU-T T.81, B.2.4.5) that no other has.
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
    """The start of a JPEG with a comment; the rest of the JPEG follows."""
    return _START_OF_IMAGE + _COMMENT + struct.pack(">H", 2 + len(text)) + text.encode()


def list_scans(contents: Contents, num_views: int) -> list[ArchiveEntry]:
    """Entries of DIODE's train archive, the files of a folder in the disorder in which a file system lists them."""
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


def pack(entries: Iterable[ArchiveEntry], bodies: Sequence[bytes], archive: Path) -> None:
    """Write a `.tar.gz` as `tar | gzip -6` does: by the program gzip, one stream.

    Raises:
        DataError: gzip failed; a full disk is the usual cause.
    """
    with archive.open("wb") as file:
        gzip = subprocess.Popen(["gzip", f"-{_GZIP_LEVEL}"], stdin=subprocess.PIPE, stdout=file)
        assert gzip.stdin is not None
        with suppress(BrokenPipeError), gzip.stdin as pipe:  # it has ended, and its status tells
            for own, body in tar_pieces(entries, bodies):
                pipe.write(own)
                pipe.write(bodies[body] if body is not None else b"")
        if status := gzip.wait():
            raise DataError(f"{archive}: expected gzip to write it, found exit status {status}: is the disk full?")


def lay_out(entries: Iterable[ArchiveEntry], bodies: Sequence[bytes], root: Path) -> None:
    """Write the entries as files below `root`; a content that repeats is one file of several names (hard links)."""
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
