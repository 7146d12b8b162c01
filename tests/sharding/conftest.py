"""A tiny MegaDepth tree and a tiny DIODE tree whose every value a test knows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharding.codecs.hdf5 import write_depth


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def add_megadepth(root: Path, name: str, depth: np.ndarray | None, image: Image.Image | None = None) -> Path:
    """`name` is SCENE/denseN/STEM.EXT."""
    scene, dense, file = name.split("/")
    path = root / "MegaDepth_v1" / scene / dense / "imgs" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.fromarray(photo(12, 16))).save(path)
    if depth is not None:
        target = path.parents[1] / "depths" / (path.stem + ".h5")
        target.parent.mkdir(exist_ok=True)
        write_depth(target, depth.astype(np.float32))
    return path


def add_diode(root: Path, split: str, kind: str, scan: int, number: int, mask_dtype: str = "<f4") -> Path:
    """A view of scene 7 (train) or 22 (val); returns the path of its image. Pixel (0, 0) is masked but deep."""
    scene = 7 if split == "train" else 22
    folder = root / split / kind / f"scene_{scene:05d}" / f"scan_{scan:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{scene:05d}_{scan:05d}_{kind}_{number * 10:03d}_010"
    depth = np.linspace(0.6, 300, 12 * 16, dtype=np.float32).reshape(12, 16, 1) + number
    mask = np.ones((12, 16), mask_dtype)
    mask[0, 0] = mask[11] = 0
    depth[11], depth[11, 0] = 0, np.nan
    Image.fromarray(photo(12, 16, 100 * scan + number)).save(f"{stem}.png")
    np.save(f"{stem}_depth.npy", depth)
    np.save(f"{stem}_depth_mask.npy", mask)
    return Path(f"{stem}.png")


@pytest.fixture
def diode_source(tmp_path: Path) -> Path:
    """Nine train views (three indoors), two val views, masks f4 and f8, and files that belong to no sample."""
    root = tmp_path / "diode"
    for number in range(6):
        add_diode(root, "train", "outdoor", 3, number, "<f8" if number % 2 else "<f4")
    for number in range(3):
        path = add_diode(root, "train", "indoors", 4, number)
    for number in range(2):
        add_diode(root, "val", "outdoor", 5, number)
    path.with_name("._" + path.name).write_bytes(b"junk")
    np.save(str(path).replace(".png", "_normal.npy"), np.zeros((12, 16, 3)))
    return root


@pytest.fixture
def megadepth_source(tmp_path: Path) -> Path:
    """Eight images: three kinds of depth; .png, grey, RGBA and upper-case files; a stem in three places."""
    root = tmp_path / "megadepth"
    scale = np.arange(12 * 16, dtype=np.float32).reshape(12, 16)  # depth 0 at one pixel
    for name in ("0000/dense0/1_a_o.jpg", "0000/dense1/1_a_o.jpg", "0001/dense0/1_a_o.jpg"):
        add_megadepth(root, name, scale)
    add_megadepth(root, "0001/dense0/2_ordinal_o.jpg", np.where(scale > 90, 1.0, -1.0))
    add_megadepth(root, "0001/dense0/3_empty_b.jpg", np.zeros((12, 16)))
    add_megadepth(root, "0001/dense0/4_png_o.png", scale)
    add_megadepth(root, "0001/dense0/5_grey_o.JPG", scale, Image.fromarray(photo(12, 16)).convert("L"))
    add_megadepth(root, "0001/dense0/6_rgba_o.png", scale, Image.fromarray(photo(12, 16)).convert("RGBA"))
    return root
