"""JPEG decoded by torchvision has the pixels that Pillow and LightlyTrain give; other files are left to Pillow."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sharding.codecs.image import decode_image, open_image
from sharding.codecs.log16_planes import encode_log16_planes
from sharding.codecs.npy import encode_npy
from sharding.codecs.parts import decode_valid
from sharding.codecs.pbm import encode_pbm
from sharding.codecs.planes import decode_planes, encode_planes
from sharding.codecs.ppm import encode_ppm
from sharding.codecs.rows import encode_rows
from sharding.errors import DataError
from sharding.reading.decoders import decode_depth_and_valid
from training.loading import decode
from training.loading.decode import decode_as_lightly_train, decode_known, decode_rgb, decode_stored


def pixels(height=61, width=83, seed=0):
    """A picture with slopes and edges, whose sides are no multiples of a block."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    return ((np.stack([x * 3, y * 4, x + y], axis=-1) + noise + 90 * (x > 40)[..., None]) % 256).astype(np.uint8)


def jpeg(image=None, mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(pixels() if image is None else image).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def mpo():
    out = io.BytesIO()
    first, second = (Image.fromarray(pixels(seed=seed)) for seed in (0, 1))
    first.save(out, "MPO", save_all=True, append_images=[second])
    return out.getvalue()


KINDS = {
    "4:2:0": jpeg(subsampling=2),
    "4:2:2": jpeg(subsampling=1),
    "4:4:4": jpeg(subsampling=0),
    "quality 5": jpeg(quality=5),
    "quality 100": jpeg(quality=100, subsampling=0),
    "progressive": jpeg(progressive=True),
    "optimized": jpeg(optimize=True),
    "grey": jpeg(mode="L"),
    "grey, progressive": jpeg(mode="L", progressive=True),
    "restart markers": jpeg(restart_marker_blocks=2),
    "turned by EXIF": jpeg(exif=exif(6)),
    "a comment": jpeg(comment=b"x" * 1000),
    "a profile": jpeg(icc_profile=bytes(3000)),
    "two pictures": mpo(),
    "bytes behind it": jpeg() + bytes(500),
    "one pixel": jpeg(pixels(1, 1)),
    "a column": jpeg(pixels(300, 1)),
    "a row": jpeg(pixels(1, 300)),
    "no JFIF": jpeg().replace(jpeg()[2:20], b"", 1),
    "fill bytes": b"\xff\xd8\xff\xff" + jpeg()[3:],
    "RGB kept": jpeg(keep_rgb=True),
    "large": jpeg(pixels(1200, 1600)),
}
"""Kinds of JPEG that are decoded by torchvision."""

assert len(KINDS) >= 20


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_pillow_and_of_lightly_train(kind, tmp_path, monkeypatch):
    helpers = pytest.importorskip("lightly_train._data.file_helpers")
    path = tmp_path / "x.jpg"
    path.write_bytes(KINDS[kind])
    expected = decode_image(KINDS[kind])
    monkeypatch.setattr(decode, "decode_image", None)  # torchvision is what decodes
    found = decode_rgb(KINDS[kind])
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, helpers.open_image_numpy(path))


def encoded(form, mode="RGB"):
    out = io.BytesIO()
    Image.fromarray(pixels()).convert(mode).save(out, form)
    return out.getvalue()


OTHERS = {
    "CMYK": jpeg(mode="CMYK"),
    "PNG": encoded("PNG"),
    "PNG with alpha": encoded("PNG", "RGBA"),
    "palette": encoded("PNG", "P"),
    "WebP": encoded("WEBP"),
    "PPM": encode_ppm(pixels()),
    "GIF": encoded("GIF", "P"),
    "1 bit": encoded("PNG", "1"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_left_to_pillow(kind, monkeypatch):
    monkeypatch.setattr(decode, "_decoder", None)
    np.testing.assert_array_equal(decode_rgb(OTHERS[kind]), decode_image(OTHERS[kind]))


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: data[:200], lambda data: data[:3]]
)
def test_a_damaged_file_is_refused_as_by_pillow(damage):
    with pytest.raises(DataError, match="that fail to decode"):
        decode_rgb(damage(jpeg()))


def test_a_file_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    huge = data[:at] + (65000).to_bytes(2) * 2 + data[at + 4 :]
    monkeypatch.setattr(decode, "_decoder", None)
    with pytest.raises(DataError, match="65000 x 65000 pixels; at most"):
        decode_rgb(huge)


@given(st.sampled_from(["4:2:0", "progressive", "grey", "restart markers"]), st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_the_bytes_are_it_is_an_error_or_a_picture_as_large_as_the_header_says(kind, draw):
    data = bytearray(KINDS[kind])
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        with open_image(bytes(data)) as image:
            size = image.height, image.width
        found = decode_rgb(bytes(data))
    except DataError:
        return
    assert (found.dtype, found.shape) == (np.uint8, (*size, 3))


def deep_png(channels):
    """A PNG of 16 bits: grey, RGB or RGBA."""
    levels = np.random.default_rng(channels).integers(0, 65536, (13, 17, channels)).astype(np.uint16)
    written, data = cv2.imencode(".png", levels[..., 0] if channels == 1 else levels)
    assert written
    return data.tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_16_bits_has_the_levels_that_lightly_train_gives(channels, tmp_path):
    helpers = pytest.importorskip("lightly_train._data.file_helpers")
    path = tmp_path / "x.png"
    path.write_bytes(deep_png(channels))
    expected = helpers.open_image_numpy(path)
    found = decode_as_lightly_train(path.read_bytes())
    assert expected.dtype == found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert decode_rgb(path.read_bytes()).dtype == np.uint8


def png(mode):
    out = io.BytesIO()
    Image.fromarray(pixels()).convert(mode).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_other_pngs_have_the_pixels_that_lightly_train_gives(mode, tmp_path):
    helpers = pytest.importorskip("lightly_train._data.file_helpers")
    path = tmp_path / "x.png"
    path.write_bytes(png(mode))
    found = decode_as_lightly_train(path.read_bytes())
    assert found.dtype == np.uint8
    assert np.array_equal(found, helpers.open_image_numpy(path))


@pytest.mark.parametrize("data", [deep_png(3)[:200], deep_png(3)[:25], deep_png(1)[:-60]])
def test_a_damaged_png_of_16_bits_is_refused(data):
    with pytest.raises(DataError):
        decode_as_lightly_train(data)


def depth_parts(height=20, width=30, **wrong):
    """Byte planes and a mask, with values that are no depth where `wrong` has them."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.1, 300, (height, width)).astype(np.float32)
    for place, value in enumerate(wrong.values()):
        depth[place, ::3] = value
    return encode_planes(depth), encode_npy(rng.random((height, width)) < 0.7)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"nan": np.nan},
        {"negative nan": -np.nan},
        {"inf": np.inf},
        {"below": -3.0, "zero": 0.0, "tiny": 1e-42},
        {"negative zero": -0.0},
        {"minus": -np.inf},
    ],
)
def test_known_depth_is_the_readers_with_zeros_where_it_is_not_valid(wrong):
    planes, valid = depth_parts(**wrong)
    expected, known = decode_depth_and_valid(planes, "planes.npy", valid)
    for ext, data in (("planes.npy", planes), ("npy", encode_npy(decode_planes(planes)))):
        for buffer in (data, memoryview(data)):
            depth, found = decode_known(buffer, ext, valid)
            assert np.array_equal(found, known)
            # Bit for bit: a zero has no sign.
            assert np.array_equal(depth.view(np.uint32), np.where(known, expected, np.float32(0)).view(np.uint32))


def test_known_depth_of_other_encodings_is_the_same():
    planes, valid = depth_parts(nan=np.nan)
    depth = decode_planes(planes)
    expected = decode_known(planes, "planes.npy", valid)
    buffer = io.BytesIO()
    Image.fromarray(decode_valid(valid)).save(buffer, "PNG")
    for ext, data, mask in (
        ("npy", encode_npy(depth), valid),
        ("planes.npy", planes, buffer.getvalue()),
        ("planes.npy", planes, encode_npy(decode_valid(valid).astype(np.float32))),
        ("planes.npy", planes, encode_pbm(decode_valid(valid))),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(decode_known(data, ext, mask), expected, strict=True))
    alone, known = decode_known(planes, "planes.npy", None)
    assert np.array_equal(known, np.isfinite(depth))
    assert np.array_equal(alone, np.where(known, depth, 0))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (20, 33)])
def test_codes_of_log_depth_are_known_depth_with_and_without_a_mask(size):
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 300, size).astype(np.float32)
    data = encode_log16_planes(depth, rng.random(size) < 0.7)
    for mask in (None, encode_pbm(rng.random(size) < 0.5), encode_npy(rng.random(size) < 0.5)):
        expected, known = decode_depth_and_valid(data, "log16.npy", mask)
        for buffer in (data, memoryview(data)):
            found, valid = decode_known(buffer, "log16.npy", mask)
            assert (found.dtype, found.shape, valid.dtype) == (np.float32, size, np.bool_)
            assert np.array_equal(valid, known)
            assert np.array_equal(found, np.where(known, expected, 0))


def test_codes_and_a_mask_of_another_size_are_refused():
    data = encode_log16_planes(np.ones((20, 30), np.float32), np.ones((20, 30), bool))
    with pytest.raises(DataError, match="depth is 20 x 30, valid is 20 x 29"):
        decode_known(data, "log16.npy", encode_pbm(np.ones((20, 29), bool)))


def test_a_code_beyond_the_steps_is_refused():
    data = encode_log16_planes(np.ones((2, 3), np.float32), np.ones((2, 3), bool))
    with pytest.raises(DataError, match="expected codes of depth up to 2, found 3"):
        decode_known(data[:-12] + b"\3" + data[-11:], "log16.npy", None)


def test_rows_are_decoded_as_the_reader_does():
    image = np.random.default_rng(0).integers(0, 256, (9, 70, 3), np.uint8)
    for function in (decode_rgb, decode_as_lightly_train):
        assert np.array_equal(function(memoryview(encode_rows(image))), image)


def test_a_byte_that_is_no_bool_counts_as_true():
    planes, valid = depth_parts()
    mask = bytearray(valid)
    mask[-600:] = bytes(7 * value for value in valid[-600:])  # 0 or 7
    found, expected = (decode_known(planes, "planes.npy", one)[0] for one in (bytes(mask), valid))
    assert np.array_equal(found, expected)


def test_a_mask_of_another_size_is_refused():
    planes = depth_parts()[0]
    for ext, data in (("planes.npy", planes), ("npy", encode_npy(decode_planes(planes)))):
        with pytest.raises(DataError, match="depth is 20 x 30, valid is 20 x 29"):
            decode_known(data, ext, depth_parts(width=29)[1])


def test_what_is_stored_under_the_mask_is_taken_on_request():
    planes, valid = depth_parts(below=-3.0, nan=np.nan)
    depth, known = decode_stored(planes, "planes.npy", valid)
    stored = decode_planes(planes)
    assert np.array_equal(known, np.isfinite(stored) & (stored > 0))
    assert np.array_equal(depth, np.where(known, stored, 0))
