import io
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from sharding.codecs.image import image as codecs
from sharding.codecs.npy import encode_npy
from sharding.errors import DataError

SHAPES = [(1, 1), (7, 5), (24, 33)]


def encode_image(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_log16_stays_within_its_stated_error(shape):
    rng = np.random.default_rng(0)
    depth = np.exp(rng.uniform(math.log(0.3), math.log(350), shape)).astype(np.float32)
    depth.flat[0], depth.flat[-1] = 0.3, 350
    valid = rng.random(shape) < 0.7
    decoded = codecs.decode_log16(codecs.encode_log16(depth, valid))
    error = np.abs(decoded[valid].astype(float) / depth[valid] - 1).max(initial=0)
    assert error <= codecs.log16_error(0.3, 350) < 1e-4
    assert (decoded[~valid] == 0).all()
    assert decoded.dtype == np.float32


def test_log16_keeps_far_depth_where_millimetres_would_wrap():
    depth = np.array([[0.6, 65.6, 256.5, 299.04]], np.float32)
    np.testing.assert_allclose(codecs.decode_log16(codecs.encode_log16(depth, depth > 0)), depth, rtol=1e-4)


def test_log16_ignores_what_lies_under_invalid_pixels():
    depth = np.array([[1, np.nan, -3, np.inf, 4]], np.float32)
    valid = np.array([[True, False, False, False, True]])
    np.testing.assert_allclose(codecs.decode_log16(codecs.encode_log16(depth, valid)), [[1, 0, 0, 0, 4]], rtol=1e-4)


def test_log16_takes_a_valid_pixel_without_depth_for_an_invalid_one():
    depth = np.array([[0, 2]], np.float32)
    np.testing.assert_array_equal(codecs.decode_log16(codecs.encode_log16(depth, np.ones((1, 2), bool))), depth)


@pytest.mark.parametrize(("near", "far"), [("0", "1"), ("-1", "1"), ("nan", "1"), ("1", "inf"), ("2", "1"), ("x", "1")])
def test_log16_refuses_a_range_that_is_none(near, far):
    text = PngImagePlugin.PngInfo()
    text.add_text("near", near)
    text.add_text("far", far)
    with pytest.raises(DataError, match="16-bit PNG"):
        codecs.decode_log16(encode_image(Image.fromarray(np.ones((2, 2), np.uint16)), "PNG", pnginfo=text))


@pytest.mark.parametrize("value", [0.7, 300.0])
def test_log16_takes_a_constant_and_an_empty_map(value):
    depth = np.full((3, 4), value, np.float32)
    np.testing.assert_allclose(codecs.decode_log16(codecs.encode_log16(depth, depth > 0)), depth, rtol=1e-6)
    assert (codecs.decode_log16(codecs.encode_log16(depth, depth < 0)) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encode", [encode_npy, lambda valid: encode_image(Image.fromarray(valid), "PNG")])
def test_the_valid_mask_is_exact(shape, encode):
    valid = np.random.default_rng(1).random(shape) < 0.5
    decoded = codecs.decode_valid(encode(valid))
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, valid)


def test_a_mask_of_another_type_is_valid_above_one_half_and_a_bool_may_be_any_byte():
    mask = np.array([[0, 0.5, 0.6, np.nan, 1]], np.float32)
    assert codecs.decode_valid(encode_npy(mask)).tolist() == [[False, False, True, False, True]]
    odd = encode_npy(np.array([[0, 1, 2, 255]], np.uint8)).replace(b"'|u1'", b"'|b1'")
    assert codecs.decode_valid(odd).view(np.uint8).tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA", "I;16"])
def test_every_image_mode_becomes_rgb(mode):
    rgb = Image.fromarray(np.full((5, 6, 3), 200, np.uint8))
    odd = {"I;16": Image.fromarray(np.full((5, 6), 200 * 257, np.uint16)), "P": rgb.quantize(4)}
    image = odd.get(mode) or rgb.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    pixels = codecs.decode_image(buffer.getvalue())
    assert pixels.shape == (5, 6, 3)
    assert pixels.dtype == np.uint8
    if mode != "1":
        assert np.abs(pixels.astype(int) - 200).max() <= 1


def test_a_truncated_image_is_an_error_and_not_half_grey(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as importing lightly_train leaves it
    data = codecs.encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="readable image"):
        codecs.decode_image(data[: len(data) // 2])


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, pixels):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def resized(jpeg, width, height):
    """The JPEG with another size in its frame header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


BILLION = {
    "ppm": b"P6 40000 25000 255\n",
    "png": png(40_000, 25_000, zlib.compress(b"")),
    "png of half": png(20_000, 15_000, zlib.compress(b"")),
    "jpeg": resized(encode_image(Image.fromarray(photo(8, 8, 3)), "JPEG"), 40_000, 25_000),
}


@pytest.mark.parametrize("data", BILLION.values(), ids=BILLION)
def test_an_image_of_a_billion_pixels_is_refused_before_it_is_decoded(data):
    with pytest.raises(DataError, match="pixels"):
        codecs.decode_image(data)


def test_a_png_with_more_pixels_than_its_header_says_is_decoded_no_further():
    rows = bytes(3 * (1 + 3 * 5))
    assert codecs.decode_image(png(5, 3, zlib.compress(rows + bytes(50_000_000)))).shape == (3, 5, 3)


def test_no_other_program_is_run_for_a_format_we_do_not_know():
    with pytest.raises(DataError, match="no known image format"):
        codecs.decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def test_the_reason_is_the_same_each_time():
    reasons = set()
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            codecs.decode_image(b"no image at all")
        reasons.add(str(caught.value))
    assert reasons == {"expected a readable image, found 15 bytes that fail to decode: no known image format"}


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), OverflowError("wide"), struct.error("x")])
def test_whatever_a_decoder_dies_of_is_a_data_error(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=str(error) or "MemoryError"):
        codecs.decode_image(b"")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PPM", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_damaged_image_decodes_or_is_a_data_error(kind):
    whole, random = encode_image(Image.fromarray(photo(16, 20, 3)), kind), np.random.default_rng(1)
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        for at in random.integers(0, min(len(data), 400), 3):
            data[at] = random.integers(0, 256)
        try:
            assert codecs.decode_image(bytes(data)).ndim == 3
            outcomes.add("decoded")
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert ("decoded" in outcomes) == (kind != "PNG")  # its chunks have checksums


@pytest.mark.parametrize("decode", [codecs.decode_log16, codecs.decode_valid, codecs.decode_image])
def test_garbage_is_a_data_error(decode):
    with pytest.raises(DataError):
        decode(b"\x93NUMPY garbage that is no file at all")


def test_an_unknown_depth_extension_names_the_known_ones():
    with pytest.raises(DataError, match=r"planes\.npy, npy, log16\.png"):
        codecs.decode_depth(b"", "exr")
