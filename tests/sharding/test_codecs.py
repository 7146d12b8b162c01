import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from sharding import codecs
from sharding.errors import DataError

SHAPES = [(1, 1), (7, 5), (24, 33)]


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(width=32)))
def test_npy_is_bit_exact_for_any_float(depth):
    assert codecs.decode_npy(codecs.encode_npy(depth)).tobytes() == depth.tobytes()


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


@pytest.mark.parametrize("value", [0.7, 300.0])
def test_log16_takes_a_constant_and_an_empty_map(value):
    depth = np.full((3, 4), value, np.float32)
    np.testing.assert_allclose(codecs.decode_log16(codecs.encode_log16(depth, depth > 0)), depth, rtol=1e-6)
    assert (codecs.decode_log16(codecs.encode_log16(depth, depth < 0)) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_valid_mask_is_exact(shape):
    valid = np.random.default_rng(1).random(shape) < 0.5
    decoded = codecs.decode_valid(codecs.encode_valid(valid))
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, valid)


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


def test_an_image_of_a_billion_pixels_is_refused_before_it_is_decoded():
    header = b"P6 40000 25000 255\n"
    with pytest.raises(DataError, match="pixels"):
        codecs.decode_image(header)


@pytest.mark.parametrize("decode", [codecs.decode_npy, codecs.decode_log16, codecs.decode_valid, codecs.decode_image])
def test_garbage_is_a_data_error(decode):
    with pytest.raises(DataError):
        decode(b"\x93NUMPY garbage that is no file at all")


def test_a_pickled_array_is_refused():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        codecs.decode_npy(buffer.getvalue())


def test_an_unknown_depth_extension_names_the_known_ones():
    with pytest.raises(DataError, match=r"npy, log16\.png"):
        codecs.decode_depth(b"", "exr")
