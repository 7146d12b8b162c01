"""The parts of `bench_shard.py`: which programs run on which input, and the options of the measurement."""

import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from making_bench.archive_server import serve
from making_bench.inputs import Contents, lay_out, list_photos, list_scans, make_photos, make_scans, pack_members
from making_bench.turns import Program, Turns
from making_bench.virtual_archive import VirtualArchive
from sharding.options import option
from sharding.progress import say

GIGABYTE = 10**9
TAR, IMAGES, PAIRS = "tar xzf", "megadepth images", "megadepth --with-depth"
EXACT, COMPACT = "diode exact", "diode compact"
ONE_WORKER, TWO_WORKERS = "diode folder, 1 worker", "diode folder, 2 workers"
STREAMED = "megadepth images over HTTP"
FOLDER_SHARD_SIZE = "64MB"
"""Small enough for many more shards than workers, so that no worker waits long for the last one."""

_PHOTO_SCALE = 1.25
_SPARE = 1.02  # 2 % more views than computed, because the configured size is a lower bound

BenchPart = Literal["archive", "folder", "slope"]


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Options of the measurement."""

    parts: tuple[BenchPart, ...] = option(
        ("archive", "folder", "slope"),
        "archive: archives on the disk, against tar; folder: 1 and 2 workers; slope: growth of memory",
        shown="all",
    )
    gigabytes: float = option(1.0, "compressed size of the MegaDepth archive, at least", metavar="GB")
    diode_gigabytes: float = option(0.25, "compressed size of the DIODE archive, at least", metavar="GB")
    slope_gigabytes: float = option(9.2, "compressed size of the archive generated while it is read", metavar="GB")
    settled_gigabytes: float = option(1.0, "size that is read before the fit of memory begins", metavar="GB")
    views: int = option(240, "DIODE views in the folder", metavar="N")
    distinct: int = option(8, "views of the toy world to render for each layout", metavar="N")
    height: int = option(768, "height of DIODE's views; MegaDepth's are 1.25 times as high and wide", metavar="PX")
    width: int = option(1024, "width of DIODE's views", metavar="PX")
    repeats: int = option(3, "turns of each program", metavar="N")
    workers: int = option(0, "worker processes of conversions from archives; 0: one a core", metavar="N")
    scratch: str | None = option(None, "folder on the disk to measure on", metavar="DIR", shown="a temporary one")


def measure_archives(turns: Turns, config: BenchConfig, scratch: Path) -> None:
    """Measure conversions of archives on the disk, and `tar xzf` of MegaDepth's."""
    archives, counts = pack_archives(config, scratch)
    for archive in archives:
        read_once(archive)  # all programs find the archives in the page cache
    (photos, scans), out = archives, scratch / "out"
    workers = ("--workers", str(config.workers))
    megadepth = partial(shard, "megadepth", photos, out, num_bytes=photos.stat().st_size, views=counts[0])
    diode = partial(shard, "diode", scans, out, num_bytes=scans.stat().st_size, views=counts[1])
    unpack = ("tar", "xzf", str(photos), "-C", str(out))
    tar = Program(argv=unpack, output=out, num_bytes=photos.stat().st_size, into_empty=True)
    turns.take({TAR: tar, IMAGES: megadepth(workers), PAIRS: megadepth(("--with-depth", *workers))}, config.repeats)
    options = ("--split", "train", *workers)
    turns.take({EXACT: diode(options), COMPACT: diode((*options, "--preset", "compact"))}, config.repeats)


def pack_archives(config: BenchConfig, scratch: Path) -> tuple[tuple[Path, Path], tuple[int, int]]:
    """Write both archives at the same time; return their paths and their numbers of views."""
    photos, scans = photo_contents(config), scan_contents(config)
    counts = count_views(photos, config.gigabytes), count_views(scans, config.diode_gigabytes)
    archives = scratch / "MegaDepth_v1.tar.gz", scratch / "train.tar.gz"
    say(f"packing {counts[0]} photographs and {counts[1]} views of DIODE with gzip -6")
    with ThreadPoolExecutor() as pool:  # threads suffice: the compression is done by gzip processes
        jobs = [
            pool.submit(pack_members, list_photos(photos, counts[0]), photos.bodies, archives[0]),
            pool.submit(pack_members, list_scans(scans, counts[1]), scans.bodies, archives[1]),
        ]
        for job in jobs:
            job.result()
    return archives, counts


def read_once(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 22):
            pass


def measure_folder(turns: Turns, config: BenchConfig, scratch: Path) -> None:
    """Measure conversions of a DIODE folder by one worker and by two."""
    scans, root, out = scan_contents(config), scratch / "diode", scratch / "out"
    lay_out(list_scans(scans, config.views), scans.bodies, root)
    options = ("--split", "train", "--shard-size", FOLDER_SHARD_SIZE, "--workers")
    diode = partial(shard, "diode", root, out, views=config.views)
    turns.take({ONE_WORKER: diode((*options, "1")), TWO_WORKERS: diode((*options, "2"))}, config.repeats)


def measure_slope(turns: Turns, config: BenchConfig, scratch: Path) -> None:
    """Measure one conversion of an archive over HTTP that is generated while it is read."""
    photos = photo_contents(config)
    count = count_views(photos, config.slope_gigabytes)
    archive = VirtualArchive(list_photos(photos, count), photos.bodies)
    say(f"serving an archive of {archive.size / GIGABYTE:.2f} GB that is generated while it is read")
    with serve(archive, "MegaDepth_v1.tar.gz") as served:
        options = ("--workers", str(config.workers))
        program = shard("megadepth", served.url, scratch / "out", options, num_bytes=archive.size, views=count)
        turns.take({STREAMED: program}, 1, served.position)


def shard(
    dataset: str, source: str | Path, output: Path, options: Sequence[str], *, num_bytes: int = 0, views: int
) -> Program:
    """Return the program `depthstream shard` for a source."""
    argv = (sys.executable, "-m", "training", "shard", dataset, str(source), str(output), *options, "--json")
    return Program(argv=argv, output=output, num_bytes=num_bytes, views=views)


def photo_contents(config: BenchConfig) -> Contents:
    """Make the contents of MegaDepth's files."""
    return make_photos(config.distinct, round(config.height * _PHOTO_SCALE), round(config.width * _PHOTO_SCALE))


def scan_contents(config: BenchConfig) -> Contents:
    """Make the contents of DIODE's files."""
    return make_scans(config.distinct, config.height, config.width)


def count_views(contents: Contents, gigabytes: float) -> int:
    """Compute how many views give an archive of at least so many compressed GB."""
    return math.ceil(_SPARE * gigabytes * GIGABYTE / contents.deflated_bytes)


MEASURE = {"archive": measure_archives, "folder": measure_folder, "slope": measure_slope}
