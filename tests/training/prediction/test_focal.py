import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational

from training.prediction.focal import read_focal_px

FILM, MM, PER_UNIT, UNIT = (
    Base.FocalLengthIn35mmFilm,
    Base.FocalLength,
    Base.FocalPlaneXResolution,
    Base.FocalPlaneResolutionUnit,
)


def tagged(folder: Path, tags: dict[int, Any], size: tuple[int, int] = (300, 200)) -> Image.Image:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update(tags)
    Image.new("RGB", size).save(folder / "photo.jpg", exif=exif)
    return Image.open(folder / "photo.jpg")


def test_an_equivalent_focal_length_has_the_angle_of_the_diagonal(tmp_path: Path) -> None:
    # 3:2 as film is: 36 mm of film are 300 pixels.
    assert read_focal_px(tagged(tmp_path, {FILM: 36})) == pytest.approx(300)
    # 4:3: the diagonal, 500 pixels, is that of film, 43.27 mm.
    found = read_focal_px(tagged(tmp_path, {FILM: 26}, (400, 300)))
    assert found == pytest.approx(26 / math.hypot(36, 24) * 500)


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 2540.0), (3, 1000.0), (4, 100.0), (None, 2540.0)])
def test_a_focal_length_with_the_resolution_of_the_sensor_is_exact(tmp_path, unit, per_unit) -> None:
    tags = {MM: 5.0, PER_UNIT: per_unit} | ({UNIT: unit} if unit else {})
    assert read_focal_px(tagged(tmp_path, tags)) == pytest.approx(500)  # 5 mm at 100 pixels per mm


def test_of_an_image_that_was_resized_since_the_pixels_count(tmp_path: Path) -> None:
    tags = {MM: 5.0, PER_UNIT: 1000.0, UNIT: 3, Base.ExifImageWidth: 600, Base.ExifImageHeight: 400}
    assert read_focal_px(tagged(tmp_path, tags)) == pytest.approx(250)
    assert read_focal_px(tagged(tmp_path, tags, (200, 300))) == pytest.approx(250)  # and turned


def test_the_equivalent_focal_length_comes_first(tmp_path: Path) -> None:
    assert read_focal_px(tagged(tmp_path, {FILM: 36, MM: 5.0, PER_UNIT: 1000.0, UNIT: 3})) == pytest.approx(300)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {FILM: 0},
        {FILM: 1},  # 8 pixels of a diagonal of 360
        {MM: 5.0},
        {MM: 5.0, PER_UNIT: 0.0},
        {MM: IFDRational(5, 0), PER_UNIT: 1000.0},
        {MM: 5.0, PER_UNIT: 1000.0, UNIT: 77},
        {MM: 5.0, PER_UNIT: 1e9},
    ],
)
def test_what_is_missing_or_impossible_is_unknown(tmp_path: Path, tags: dict[int, Any]) -> None:
    assert read_focal_px(tagged(tmp_path, tags)) is None


def test_an_image_without_exif_is_unknown() -> None:
    assert read_focal_px(Image.new("L", (3, 3))) is None
