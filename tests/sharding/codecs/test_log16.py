import io
import math

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sharding.codecs.log16 import decode_log16, encode_log16, log16_error
from sharding.errors import DataError


def png(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (24, 33)])
def test_log16_stays_within_its_stated_error(shape):
    rng = np.random.default_rng(0)
    depth = np.exp(rng.uniform(math.log(0.3), math.log(350), shape)).astype(np.float32)
    depth.flat[0], depth.flat[-1] = 0.3, 350
    valid = rng.random(shape) < 0.7
    decoded = decode_log16(encode_log16(depth, valid))
    error = np.abs(decoded[valid].astype(float) / depth[valid] - 1).max(initial=0)
    assert error <= log16_error(0.3, 350) < 1e-4
    assert (decoded[~valid] == 0).all()
    assert decoded.dtype == np.float32


def test_log16_keeps_far_depth_where_millimetres_would_wrap():
    depth = np.array([[0.6, 65.6, 256.5, 299.04]], np.float32)
    np.testing.assert_allclose(decode_log16(encode_log16(depth, depth > 0)), depth, rtol=1e-4)


def test_log16_ignores_what_lies_under_invalid_pixels():
    depth = np.array([[1, np.nan, -3, np.inf, 4]], np.float32)
    valid = np.array([[True, False, False, False, True]])
    np.testing.assert_allclose(decode_log16(encode_log16(depth, valid)), [[1, 0, 0, 0, 4]], rtol=1e-4)


def test_log16_takes_a_valid_pixel_without_depth_for_an_invalid_one():
    depth = np.array([[0, 2]], np.float32)
    np.testing.assert_array_equal(decode_log16(encode_log16(depth, np.ones((1, 2), bool))), depth)


@pytest.mark.parametrize(("near", "far"), [("0", "1"), ("-1", "1"), ("nan", "1"), ("1", "inf"), ("2", "1"), ("x", "1")])
def test_log16_refuses_a_range_that_is_none(near, far):
    text = PngImagePlugin.PngInfo()
    text.add_text("near", near)
    text.add_text("far", far)
    with pytest.raises(DataError, match="16-bit PNG"):
        decode_log16(png(np.ones((2, 2), np.uint16), pnginfo=text))


@pytest.mark.parametrize("value", [0.7, 300.0])
def test_log16_takes_a_constant_and_an_empty_map(value):
    depth = np.full((3, 4), value, np.float32)
    np.testing.assert_allclose(decode_log16(encode_log16(depth, depth > 0)), depth, rtol=1e-6)
    assert (decode_log16(encode_log16(depth, depth < 0)) == 0).all()
