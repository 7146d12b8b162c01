import io

import numpy as np
import pytest
from PIL import Image

from sharding.codecs.image import decode_image
from sharding.codecs.log16 import decode_log16
from sharding.codecs.npy import encode_npy
from sharding.codecs.parts import decode_depth, decode_valid
from sharding.codecs.pbm import encode_pbm
from sharding.errors import DataError


def png(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("decode", [decode_log16, decode_valid, decode_image])
def test_garbage_is_a_data_error(decode):
    with pytest.raises(DataError):
        decode(b"\x93NUMPY garbage that is no file at all")


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (24, 33)])
@pytest.mark.parametrize("encode", [encode_npy, png, encode_pbm])
def test_the_valid_mask_is_exact(shape, encode):
    valid = np.random.default_rng(1).random(shape) < 0.5
    decoded = decode_valid(encode(valid))
    assert decoded.dtype == np.bool_
    assert decoded.view(np.uint8).max() <= 1
    np.testing.assert_array_equal(decoded, valid)


def test_a_mask_of_another_type_is_valid_above_one_half_and_a_bool_may_be_any_byte():
    mask = np.array([[0, 0.5, 0.6, np.nan, 1]], np.float32)
    assert decode_valid(encode_npy(mask)).tolist() == [[False, False, True, False, True]]
    odd = encode_npy(np.array([[0, 1, 2, 255]], np.uint8)).replace(b"'|u1'", b"'|b1'")
    assert decode_valid(odd).view(np.uint8).tolist() == [[0, 1, 1, 1]]


def test_an_unknown_depth_extension_names_the_known_ones():
    with pytest.raises(DataError, match=r"planes\.npy, npy, log16\.png, log16\.npy"):
        decode_depth(b"", "exr")
