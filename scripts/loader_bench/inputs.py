"""The views that `bench_loader.py` loads, in our encodings: the source in DIODE's layout, and four sets of it."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from photographs import cut_photographs, find_photographs
from store_bench.views import write_source

from loader_bench.task import SETS
from sharding.config import ShardDiodeConfig
from sharding.errors import UsageError
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet

PNG_LEVEL = 6
"""Effort of the compression of images: Pillow's default, since their size is compared with ours."""


def make_inputs(root: Path, views: int, height: int, width: int, photos: str | None) -> None:
    """Make the source and the sets below `root`, each unless it exists.

    Raises:
        UsageError: `photos` holds no photographs, or `root` has other views.
    """
    pictures = None if photos is None else cut_photographs(find_photographs(Path(photos)), views, height, width)
    _require_same(root / "options.json", {"views": views, "height": height, "width": width, "photos": photos})
    write = partial(write_source, samples=views, height=height, width=width, png_level=PNG_LEVEL, pictures=pictures)
    make_once(root / "source", write)
    for name in SETS:
        make_once(root / name, partial(_make_set, root / "source", name))


def _require_same(recorded: Path, options: dict[str, Any]) -> None:
    """Record of what views a folder is, and refuse one that is of others."""
    found = json.loads(recorded.read_text()) if recorded.exists() else options
    if found != options:
        raise UsageError(f"--folder {recorded.parent}: expected {options}, found {found}: give a folder of its own")
    recorded.write_text(json.dumps(options))


def make_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder, unless it exists: under another name first, so that it exists only when it is whole."""
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make(unfinished)
    unfinished.rename(folder)


def _make_set(source: Path, name: str, target: Path) -> None:
    preset, compression = SETS[name]
    shard_diode(
        ShardDiodeConfig(
            source=str(source),
            set=str(target),
            split="train",
            shard_size=64_000_000,
            preset=preset,
            compression=compression,
            workers=1,
        )
    )


def image_bytes(root: Path) -> dict[str, float]:
    """Return the mean bytes of an image: as PNG, and as each set stores it."""
    files = list((root / "source").rglob("*.png"))
    png = sum(path.stat().st_size for path in files) / len(files)
    return {"png": png} | {name: float(ShardSet(str(root / name)).index["image_bytes"].mean()) for name in SETS}
