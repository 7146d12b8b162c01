"""Sound inputs that the hostile ones are made from: small enough to copy for each."""

import io
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sharding.config import ShardDiodeConfig
from sharding.making.create import shard_diode
from tests.hostile.confined import run_command
from tests.hostile.web import Web
from tests.sharding.conftest import add_diode, add_megadepth

SAMPLES = 3
CANARY = "canary"
"""Name of the file that code from an input would write."""


@dataclass(frozen=True)
class World:
    """Sound inputs, made once.

    Attributes:
        root: Folder that holds them.
    """

    root: Path

    @property
    def canary(self) -> Path:
        """The file that code from an input would write; the harness looks for it."""
        return self.root / CANARY

    @cached_property
    def diode(self) -> Path:
        """A DIODE tree of three val views."""
        tree = self.root / "diode"
        for number in range(SAMPLES):
            add_diode(tree, "val", "outdoor", 5, number)
        return tree

    @cached_property
    def megadepth(self) -> Path:
        """A MegaDepth tree of two images with depth."""
        tree = self.root / "megadepth"
        for number in range(2):
            add_megadepth(tree, f"0000/dense0/{number}_a_o.jpg", np.linspace(1, 9, 12 * 16).reshape(12, 16))
        return tree

    @cached_property
    def diode_set(self) -> Path:
        """The DIODE tree as a set of one shard per sample, zstd."""
        target = self.root / "set"
        shard_diode(
            ShardDiodeConfig(source=str(self.diode), set=str(target), split="val", shard_size=1, workers=1)  # type: ignore[arg-type]
        )
        return target

    @cached_property
    def plain_set(self) -> Path:
        """The same in one shard without compression."""
        target = self.root / "plain"
        options = {"source": str(self.diode), "set": str(target), "split": "val", "workers": 1, "compression": "none"}
        shard_diode(ShardDiodeConfig(**options))
        return target

    @cached_property
    def run(self) -> Path:
        """A fine-tuning run of one epoch on the set, measured on it."""
        here = self.root / "runs"
        here.mkdir(exist_ok=True)
        tiny = (
            "--allow-overlap --encoder-name resnet18 --height 48 --width 64 --epochs 1 --batch-size 3 --num-workers 0 "
            "--accelerator cpu"
        )
        place = str(self.diode_set)
        for words in (["finetune", place, "--val", place, "--out", "run", *tiny.split()], ["evaluate", "run", place]):
            ended = run_command(words, here, time_s=300.0)
            assert ended.status == 0, ended.err
        return here / "run"

    @cached_property
    def inflating(self) -> Path:
        """A zip like torch's whose storage is 4 GB of zeros, compressed."""
        path = self.root / "inflating.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened:
            opened.writestr("a/data.pkl", pickle.dumps({"a": 1}, 2))
            opened.writestr("a/version", "3\n")
            with opened.open("a/data/0", "w", force_zip64=True) as file:
                for _ in range(64):
                    file.write(bytes(64 << 20))
        return path

    def copy_run(self, folder: Path) -> Path:
        """Copy the run into a folder."""
        return Path(shutil.copytree(self.run, folder / "run"))

    @cached_property
    def web(self) -> Web:
        """A server on loopback."""
        return Web()

    def copy_set(self, folder: Path, plain: bool = False) -> Path:
        """Copy a set into a folder."""
        return Path(shutil.copytree(self.plain_set if plain else self.diode_set, folder / "set"))

    def copy_diode(self, folder: Path) -> Path:
        """Copy the DIODE tree; return the image of its first view."""
        tree = Path(shutil.copytree(self.diode, folder / "diode"))
        return min(tree.rglob("*.png"))

    def copy_megadepth(self, folder: Path) -> Path:
        """Copy the MegaDepth tree; return its first image."""
        tree = Path(shutil.copytree(self.megadepth, folder / "megadepth"))
        return min(tree.rglob("*.jpg"))


def shard_words(kind: str, source: str = "") -> list[str]:
    """Return the words that make a set from the copy of a tree, or from `source`, in this process alone."""
    options = ["--split", "val"] if kind == "diode" else ["--with-depth"]
    return ["shard", kind, source or kind, "made", *options, "--workers", "1"]


def jpeg(height: int = 12, width: int = 16) -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def npy(array: np.ndarray | None = None) -> bytes:
    """An array as .npy; 12 x 16 of ones by default."""
    out = io.BytesIO()
    np.save(out, np.ones((12, 16), "<f4") if array is None else array)
    return out.getvalue()


def tar(members: Sequence[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of regular files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return out.getvalue()


def samples(count: int = 3) -> list[tuple[str, bytes]]:
    """Members of a foreign tar: image and depth of each sample."""
    return [member for n in range(count) for member in ((f"{n:06d}.jpg", jpeg()), (f"{n:06d}.depth.npy", npy()))]
