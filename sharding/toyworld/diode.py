"""Generated views in DIODE's published layout, traps included.

    {train,val}/{indoors,outdoor}/scene_00022/scan_00193/00022_00193_outdoor_000_010{.png,_depth.npy,_depth_mask.npy}

depth: float32 (H, W, 1), planar z in metres. mask: (H, W), 0 or 1, float32 or float64. No flying returns at borders:
where the mask says so, depth is exact.
"""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.progress import track
from sharding.toyworld.dice import Dice
from sharding.toyworld.params import PARAMS
from sharding.toyworld.pose import draw_headings, draw_height, draw_tilt, stand
from sharding.toyworld.room import make_room
from sharding.toyworld.scene import Camera, Scene
from sharding.toyworld.town import make_town
from sharding.toyworld.view import View, render

Split = Literal["train", "val"]

_PURPOSE, _GROUP = 5, 0
_SCENES = {
    ("train", "outdoor"): range(7, 19),
    ("train", "indoors"): range(0, 7),
    ("val", "outdoor"): range(22, 25),
    ("val", "indoors"): range(19, 22),
}
_INDOORS_EVERY, _VIEWS_PER_SCAN, _SCAN_STEP = 8, 3, 25
_SPECKLE = {"outdoor": 0.015, "indoors": 0.004}
_TILT_STEP_DEG = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DiodeView:
    """Which view this is; everything else follows from it and the seed.

    Attributes:
        split: Train or val.
        number: Of the view in its split.
        kind: "outdoor" or "indoors".
        scene: Number of the scene, one of DIODE's own.
        scan: Number of the scan among those of its scene.
        turn: Number of the view in its scan.
        order: Number of the view among those of its split and kind.
    """

    split: Split
    number: int
    kind: Literal["outdoor", "indoors"]
    scene: int
    scan: int
    turn: int
    order: int

    @property
    def group(self) -> int:
        """A number for the split and kind: their cameras are drawn apart."""
        return list(_SCENES).index((self.split, self.kind))


def plan_view(split: Split, number: int) -> DiodeView:
    """Return view `number` of `split`: every eighth is indoors, the others go round the outdoor scenes."""
    # Views 5, 13, 21, ... are indoors; `indoors` counts those before this one.
    indoors, before = divmod(number + 2, _INDOORS_EVERY)
    kind: Literal["outdoor", "indoors"] = "indoors" if before == _INDOORS_EVERY - 1 else "outdoor"
    order = indoors if kind == "indoors" else number - indoors
    scenes = _SCENES[split, kind]
    scan, turn = divmod(order // len(scenes), _VIEWS_PER_SCAN)
    return DiodeView(
        split=split, number=number, kind=kind, scene=scenes[order % len(scenes)], scan=scan, turn=turn, order=order
    )


def place_view(view: DiodeView, seed: int) -> tuple[Scene, Camera, str]:
    """Return scene, camera and stem of a view.

    Azimuth in the name is the heading; elevation counts steps of the tilt head (000, 010, 020), not degrees.
    """
    is_room = view.kind == "indoors"
    scene = make_room(seed, view.scene, view.scan) if is_room else make_town(seed, _GROUP, view.scene)
    dice = Dice(seed, _PURPOSE, view.scene, view.scan)
    scans = len(_SCENES[view.split, view.kind])
    scan_order = view.scan * scans + view.order % scans
    height = dice.between(*PARAMS.room_camera_m) if is_room else draw_height(seed, view.group, scan_order)
    spot = stand(scene, height, dice)
    azimuth = draw_headings(scene, spot, dice)[view.turn]
    pitch, roll = draw_tilt(seed, view.group, view.order)
    elevation = 10 * int((pitch - PARAMS.pitch_deg[0]) / _TILT_STEP_DEG)
    stem = f"{view.scene:05d}_{view.scan * _SCAN_STEP + view.scene:05d}_{view.kind}_{azimuth:03d}_{elevation:03d}"
    return (
        scene,
        Camera(x_m=spot[0], y_m=spot[1], height_m=height, yaw_deg=azimuth, pitch_deg=pitch, roll_deg=roll),
        stem,
    )


def write_split(root: Path, split: Split, seed: int, images: int, shape: tuple[int, int]) -> Counter[str]:
    """Write `images` views of `shape` (H, W) into `root`/`split`.

    Returns:
        How many views there are of each kind, and how often each trap was laid.
    """
    counts: Counter[str] = Counter()
    for number in track(range(images), total=images, unit="views", label=f"diode {split}"):
        view = plan_view(split, number)
        scene, camera, stem = place_view(view, seed)
        folder = root / split / view.kind / f"scene_{stem[:5]}" / f"scan_{stem[6:11]}"
        folder.mkdir(parents=True, exist_ok=True)
        seen = render(scene, camera, *shape)
        depth, mask = lay_traps(view, seen, seed, counts)
        _write_view(folder / stem, seen.image, depth, mask)
        if number == 0:
            _write_junk(folder, stem, shape, counts)
        counts[view.kind] += 1
    return counts


def lay_traps(
    view: DiodeView, seen: View, seed: int, counts: Counter[str]
) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
    """Return depth (H, W) and mask (H, W) as a real scanner leaves them; `counts` learns what was laid.

    Speckle is masked out, and half of it still carries depth; the sky has neither. In every eighth view depth under the
    mask is NaN here and there, in another eighth a few pixels of the mask have no depth.
    """
    dice = Dice(seed, _PURPOSE + 1, view.group, view.number)
    noise = dice.field(*seen.depth.shape)
    speckle = noise < _SPECKLE[view.kind]
    mask, depth = seen.valid & ~speckle, seen.depth.copy()
    depth[speckle & (noise < _SPECKLE[view.kind] / 2)] = 0.0
    if view.number % 8 == 2:
        depth.ravel()[np.flatnonzero(~mask)[:5]] = np.nan
        counts["nan_under_mask"] += 1
    if view.number % 8 == 6:
        depth.ravel()[np.flatnonzero(mask)[:5]] = 0.0
        counts["mask_without_depth"] += 1
    counts["depth_under_mask"] += bool((depth[~mask] > 0).any())
    counts["no_return"] += bool((~seen.valid).any())
    counts["mask_f8" if view.number % 3 == 1 else "mask_f4"] += 1
    return depth, mask.astype(np.float64 if view.number % 3 == 1 else np.float32)


def _write_view(path: Path, image: NDArray[np.uint8], depth: NDArray[np.float32], mask: NDArray[np.floating]) -> None:
    Image.fromarray(image).save(f"{path}.png")
    _save(Path(f"{path}_depth.npy"), depth[..., None])  # (H, W, 1)
    _save(Path(f"{path}_depth_mask.npy"), mask)


def _write_junk(folder: Path, stem: str, shape: tuple[int, int], counts: Counter[str]) -> None:
    """Write what is found beside views and must be left alone: an AppleDouble file, and normals (all invalid)."""
    (folder / f"._{stem}.png").write_bytes(bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(8))
    _save(folder / f"{stem}_normal.npy", np.zeros((*shape, 3), np.float32))
    counts.update(("apple_double", "normals"))


def _save(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `numpy.save` does, which does not tell why it cannot."""
    np.save(content := io.BytesIO(), array)
    path.write_bytes(content.getvalue())
