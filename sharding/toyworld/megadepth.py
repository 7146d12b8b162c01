"""Generated photographs in MegaDepth's published layout, traps included.

    phoenix/S6/zl548/MegaDepth_v1/0000/dense0/{imgs/<flickr id>_<secret>_{o,b}.{jpg,png}, depths/<same stem>.h5}

`/depth` of an .h5 is float32 (H, W): planar z times a scale of the reconstruction, 0 for no depth; or ordinal labels,
farther negative; or all zero.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.codecs.hdf5 import write_depth
from sharding.progress import track
from sharding.toyworld.dice import Dice
from sharding.toyworld.pose import draw_headings, draw_height, draw_tilt, stand
from sharding.toyworld.scene import Camera
from sharding.toyworld.texture import value_noise
from sharding.toyworld.town import make_town
from sharding.toyworld.view import View, render

Kind = Literal["up_to_scale", "ordinal", "empty"]
Mode = Literal["RGB", "RGBA", "L"]

ROOT = Path("phoenix/S6/zl548/MegaDepth_v1")

_PURPOSE, _GROUP = 7, 1
# (scene, dense) of sixteen photographs in turn: folders of very different sizes, as in the original.
_FOLDERS = (
    (0, 0),
    (0, 0),
    (1, 0),
    (0, 0),
    (2, 0),
    (0, 1),
    (0, 0),
    (1, 0),
    (3, 0),
    (0, 0),
    (2, 0),
    (0, 1),
    (1, 1),
    (0, 0),
    (2, 0),
    (3, 2),
)
_PHOTOS_PER_TOWN_GROUP, _TOWNS_PER_GROUP = 64, 4
# Photographs that take the stem of an earlier one: of another dense folder of the scene, and of another scene.
_TWINS = {5: 0, 2: 1}
_JPEG_QUALITY = 95
_RECONSTRUCTED_M = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """Which photograph this is.

    Attributes:
        number: Of the photograph.
        scene: Number of the scene.
        dense: Number of the reconstruction within the scene.
        stem: Flickr id, secret and size.
        extension: Of the image file.
        mode: Of the image.
        kind: Of the depth map.
        portrait: Whether it is taller than wide.
        twin: Whether another folder has the same stem.
    """

    number: int
    scene: int
    dense: int
    stem: str
    extension: Literal["jpg", "png"]
    mode: Mode
    kind: Kind
    portrait: bool
    twin: bool

    @property
    def folder(self) -> Path:
        """Path below the root of the archive."""
        return ROOT / f"{self.scene:04d}" / f"dense{self.dense}"


def plan_photo(seed: int, number: int) -> Photo:
    """Return photograph `number`: the first 24 hold every trap."""
    group, place = divmod(number, _PHOTOS_PER_TOWN_GROUP)
    town, dense = _FOLDERS[number % len(_FOLDERS)]
    scene = group * _TOWNS_PER_GROUP + town
    original = number - place + _TWINS.get(place, place)
    mode: Mode = "RGBA" if number % 24 == 5 else "L" if number % 16 == 3 else "RGB"
    return Photo(
        number=number,
        scene=scene + (scene >= 132),  # the original has no 0132
        dense=dense,
        stem=_stem(seed, original),
        extension="png" if number % 12 == 5 else "jpg",
        mode=mode,
        kind="ordinal" if number % 5 == 2 else "empty" if number % 16 == 9 else "up_to_scale",
        portrait=number % 10 == 4,
        twin=original != number,
    )


def _stem(seed: int, number: int) -> str:
    dice = Dice(seed, _PURPOSE, 0, number)
    flickr = dice.digits("123456789", 1) + dice.digits("0123456789", 8)
    return f"{flickr}_{dice.digits('0123456789abcdef', 10)}_{'b' if number % 8 == 6 else 'o'}"


def photograph(photo: Photo, seed: int, height: int, width: int) -> View:
    """Render a photograph: most are `height` x `width`, some less high, portraits `width` x `height`."""
    town = make_town(seed, _GROUP, photo.scene)
    dice = Dice(seed, _PURPOSE, 1, photo.number)
    spot = stand(town, draw_height(seed, 10, photo.number), dice)
    heading = draw_headings(town, spot, dice)[0] + dice.between(-5, 5)
    pitch, roll = draw_tilt(seed, 10, photo.number)
    camera = Camera(x_m=spot[0], y_m=spot[1], height_m=spot[2], yaw_deg=heading, pitch_deg=pitch, roll_deg=roll)
    short = height * 7 // 8 if photo.number % 3 == 1 else height
    return render(town, camera, *((width, short) if photo.portrait else (short, width)))


def stored_depth(photo: Photo, view: View, seed: int) -> NDArray[np.float32]:
    """Return float32 (H, W) as the .h5 holds it: up to scale and incomplete, ordinal, or empty."""
    if photo.kind == "empty":
        return np.zeros_like(view.depth)
    if photo.kind == "ordinal":
        near, far = np.quantile(view.depth[view.valid], (0.3, 0.7))
        return np.select([view.valid & (view.depth < near), ~view.valid | (view.depth > far)], [1.0, -1.0], 0.0).astype(
            np.float32
        )
    scale = Dice(seed, _PURPOSE + 1, photo.scene, photo.dense).log_between(0.02, 3.0)
    found = view.valid & (view.depth < _RECONSTRUCTED_M) & ~_gaps(photo, view, seed)
    return np.where(found, view.depth * np.float32(scale), np.float32(0.0))


def _gaps(photo: Photo, view: View, seed: int) -> NDArray[np.bool_]:
    """Return bool (H, W): patches in which the reconstruction failed, about an eighth of the picture."""
    lattice = 2.0 * Dice(seed, _PURPOSE + 2, 0, photo.number).field(16, 16) - 1.0
    # Ten cells of noise along the longer side.
    rows, columns = np.indices(view.depth.shape, np.float32) * np.float32(10.0 / max(view.depth.shape))
    return value_noise(lattice, columns.ravel(), rows.ravel()).reshape(view.depth.shape) > 0.45


def write_photos(root: Path, seed: int, images: int, shape: tuple[int, int]) -> Counter[str]:
    """Write `images` photographs of `shape` (H, W) below `root`.

    Returns:
        How many photographs there are, and how often each trap was laid.
    """
    counts: Counter[str] = Counter()
    for number in track(range(images), total=images, unit="views", label="megadepth"):
        photo = plan_photo(seed, number)
        view = photograph(photo, seed, *shape)
        for name in ("imgs", "depths"):
            (root / photo.folder / name).mkdir(parents=True, exist_ok=True)
        _write_image(root / photo.folder / "imgs" / f"{photo.stem}.{photo.extension}", view.image, photo.mode)
        write_depth(root / photo.folder / "depths" / f"{photo.stem}.h5", stored_depth(photo, view, seed))
        counts.update(
            ["images", photo.kind, photo.mode, photo.extension, "portrait" if photo.portrait else "landscape"]
        )
        counts["twin"] += photo.twin
    return counts


def _write_image(path: Path, image: NDArray[np.uint8], mode: Mode) -> None:
    picture = Image.fromarray(image).convert(mode)
    if path.suffix == ".png":
        picture.save(path)
    else:
        picture.save(path, quality=_JPEG_QUALITY)
