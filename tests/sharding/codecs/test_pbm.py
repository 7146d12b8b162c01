import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from sharding.codecs.parts import decode_valid
from sharding.codecs.pbm import decode_pbm, encode_pbm
from sharding.errors import DataError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


@given(hnp.arrays(np.bool_, SHAPES))
def test_pbm_is_exact_and_any_image_library_reads_it_white_where_valid(valid):
    data = encode_pbm(valid)
    assert decode_pbm(data).dtype == np.bool_
    np.testing.assert_array_equal(decode_pbm(data), valid)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "1"
        np.testing.assert_array_equal(opened, valid)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 1023, 1024])
def test_the_width_is_exact_whatever_part_of_a_byte_it_fills(width):
    for valid in (np.ones((3, width), bool), np.zeros((3, width), bool)):
        decoded = decode_valid(memoryview(encode_pbm(valid)))
        assert decoded.shape == (3, width)
        np.testing.assert_array_equal(decoded, valid)
        assert set(decoded.view(np.uint8).ravel().tolist()) == {int(valid[0, 0])}  # bytes are 0 or 1


def test_what_fills_the_last_byte_of_a_row_does_not_matter():
    data = bytearray(encode_pbm(np.ones((2, 5), bool)))
    data[-2:] = b"\x07\x07"
    assert decode_pbm(bytes(data)).all()


def test_it_is_eight_pixels_a_byte_and_the_first_is_the_highest_bit():
    assert encode_pbm(np.array([[False, True, True, True, True, True, True, True, False]])) == b"P4\n9 1\n\x80\x80"


def test_other_headers_are_read_too():
    valid = np.random.default_rng(0).random((3, 11)) < 0.5
    data = encode_pbm(valid).replace(b"P4\n11 3\n", b"P4 # made by hand\n11\t3\n")
    assert decode_pbm(data) is None
    np.testing.assert_array_equal(decode_valid(data), valid)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:8]])
def test_too_few_or_too_many_bytes_are_a_data_error(change):
    with pytest.raises(DataError, match="expected 6 bytes of 9 x 3 pixels in a PBM file, found"):
        decode_valid(change(encode_pbm(np.ones((3, 9), bool))))


@pytest.mark.parametrize("header", [b"P4\n40000 25000\n", b"P4\n4000000000 4000000000\n"])
def test_a_billion_pixels_are_refused_before_memory_is_taken_for_them(header):
    with pytest.raises(DataError, match="pixels"):
        decode_valid(header)
