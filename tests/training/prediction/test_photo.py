import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from sharding.errors import DataError, UsageError
from training.prediction.photo import read_photo

GREY = np.full((4, 5, 3), 100, np.uint8)


def test_photos_are_read_upright_and_in_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by a quarter turn
    Image.fromarray(GREY).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(GREY[..., 0]).save(tmp_path / "grey.png")
    assert read_photo(tmp_path / "turned.jpg").image.shape == (5, 4, 3)
    assert np.array_equal(read_photo(tmp_path / "grey.png").image, GREY)


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "cut.png")
    os.truncate(tmp_path / "cut.png", 900)
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("cut.png", "text.jpg", "missing.jpg"):
        with pytest.raises(DataError, match=name):
            read_photo(tmp_path / name)


def test_floating_point_levels_of_a_file_go_from_0_to_1(tmp_path: Path) -> None:
    levels = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(levels).save(tmp_path / "float.tif")
    assert np.array_equal(read_photo(tmp_path / "float.tif").image[..., 1], np.rint(levels * 255))
    Image.fromarray(levels * 255).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"float\.tif: .*expected floating point levels from 0 .*found 0 to 255"):
        read_photo(tmp_path / "float.tif")


def test_a_16_bit_image_is_the_8_bit_one(tmp_path: Path) -> None:
    Image.fromarray(GREY[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_photo(tmp_path / "deep.png").image, GREY)


@pytest.mark.timeout(20)
def test_what_is_no_file_or_too_large_a_one_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "sparse.png").write_bytes(b"")
    os.truncate(tmp_path / "sparse.png", 20 << 30)
    for name, reason in {"fifo": "it is a FIFO", "zero": "it is a device", "sparse": "found 21474836480 bytes"}.items():
        with pytest.raises(DataError, match=rf"{name}\.png: expected a readable image: {reason}"):
            read_photo(tmp_path / f"{name}.png")


def test_paths_pictures_and_arrays_are_the_same_photo(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), image):
        photo = read_photo(source)
        assert np.array_equal(photo.image, image)
        assert photo.focal_px is None


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb_as_pillow_converts_it(mode: str) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).convert(mode)
    assert np.array_equal(read_photo(picture).image, np.asarray(picture.convert("RGB")))


def test_the_focal_length_is_the_one_given_or_that_of_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = 36
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg", exif=exif)
    assert read_photo(tmp_path / "a.jpg").focal_px == pytest.approx(300)
    assert read_photo(tmp_path / "a.jpg", 777.0).focal_px == 777
    assert read_photo(GREY, 5.0).focal_px == 5


@pytest.mark.parametrize("focal_px", [0.0, -5.0, math.nan, math.inf])
def test_an_impossible_focal_length_is_refused(focal_px: float) -> None:
    with pytest.raises(UsageError, match="expected a focal length above 0 pixels"):
        read_photo(GREY, focal_px)
