"""Options of the commands that make and inspect shard sets: one frozen dataclass per command, no slow imports."""

from dataclasses import dataclass
from typing import Literal

from sharding.format.choices import JPEG_QUALITY, JPEG_SUBSAMPLING, Check, Compression, Preset, Subsampling
from sharding.options import argument, option, parse_bytes, required

SMALLEST_PX = 16
"""Least side of an image that is made, in pixels."""


@dataclass(frozen=True, kw_only=True)
class ToyworldConfig:
    """Options of `depthstream toyworld`."""

    out: str = argument("folder to write the generated data set into", metavar="OUT", path="local")
    layout: Literal["megadepth", "diode"] = required("published layout to imitate")
    images: int = required("number of train views (diode: a fifth as many val views more)", metavar="N", least=1)
    height: int = option(64, "image height in pixels (of the longer views)", metavar="PX", least=SMALLEST_PX)
    width: int = option(96, "image width in pixels", metavar="PX", least=SMALLEST_PX)
    seed: int = option(0, "seed of the world", least=0)
    archive: bool = option(False, "write .tar.gz archives as published instead of folders")


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Options that all data sets share; those that change the bytes of the set are recorded in its manifest."""

    source: str = argument(
        "the data set: a folder, .tar, .tar.gz, .tar.zst, or URL of an archive", metavar="SRC", path="any"
    )
    set: str = argument("folder or URL to write the shard set into", metavar="SET", path="any")
    preset: Preset = option("exact", "exact: bit-exact pixels and depth; compact: JPEG image, depth within 0.01 %%")
    check: Check = option(
        "header", "check of JPEG files that are stored unchanged; header: size and end marker; decode: every pixel"
    )
    jpeg_quality: int | None = option(
        None,
        f"quality of images that become JPEG, by --max-side or compact, 1 to 100 (default: {JPEG_QUALITY})",
        metavar="Q",
        least=1,
        most=100,
    )
    jpeg_subsampling: Subsampling | None = option(
        None, f"resolution of the colour of images that become JPEG (default: {JPEG_SUBSAMPLING})"
    )
    compression: Compression = option("zstd", "zstd: .tar.zst, one frame per member; none: .tar")
    shard_size: int = option(
        256_000_000, "source bytes of a shard", metavar="SIZE", parse=parse_bytes, least=1, shown="256MB"
    )
    workers: int = option(0, "encoding processes; 0: one per core", metavar="N", least=0)
    engine: Literal["local"] = option("local", "where shards are encoded")
    seed: int = option(0, "seed of the shuffle at write time", least=0)
    allow_bad: int = option(0, "quarantined files to tolerate before the set counts as failed", metavar="N", least=0)


@dataclass(frozen=True, kw_only=True)
class ShardMegadepthConfig(ShardConfig):
    """Options of `depthstream shard megadepth`."""

    with_depth: bool = option(False, "take the depth maps as well (pretraining needs the images only)")
    max_side: int | None = option(
        None, "shrink images (and depth) whose longer side exceeds PX", metavar="PX", least=SMALLEST_PX
    )


@dataclass(frozen=True, kw_only=True)
class ShardDiodeConfig(ShardConfig):
    """Options of `depthstream shard diode`."""

    split: Literal["train", "val"] = required("split to take")
    scene_type: Literal["all", "outdoor", "indoors"] = option("all", "scenes to take")


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Options of `depthstream index`."""

    tars: str = argument(
        "folder of WebDataset .tar files (or one file); they are read, never changed", metavar="TARS", path="local"
    )
    set: str = argument(
        "folder to write the set into: index, manifest, and links to the tars", metavar="SET", path="local"
    )


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """Options of the commands that read a finished set."""

    set: str = argument("folder or URL of a shard set", metavar="SET", path="any")


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(ReadConfig):
    """Options of `depthstream verify`."""

    against: str | None = option(
        None, "source to compare with, sample by sample: folder or archive", metavar="SRC", path="any"
    )


@dataclass(frozen=True, kw_only=True)
class InspectConfig(ReadConfig):
    """Options of `depthstream inspect`."""

    where: str | None = option(
        None, "a condition on columns of the index, such as \"scene_type == 'outdoor'\"", metavar="EXPR"
    )
    grid: str | None = option(
        None, "write a contact sheet: images, depth in metres, valid masks", metavar="FILE.png", path="local"
    )
    samples: int = option(8, "samples on the contact sheet", metavar="N", least=1)
    seed: int = option(0, "seed that selects the samples of the contact sheet", least=0)
