import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from sharding.codecs.image import decode_image
from sharding.codecs.ppm import encode_ppm, view_ppm
from sharding.errors import DataError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40).map(lambda shape: (*shape, 3))


@given(hnp.arrays(np.uint8, SHAPES))
def test_ppm_is_bit_exact_and_any_image_library_reads_it(image):
    data = encode_ppm(image)
    np.testing.assert_array_equal(view_ppm(data), image)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(opened, image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5)])
def test_ppm_takes_odd_sizes_and_views_that_are_not_contiguous(shape):
    part = np.random.default_rng(0).integers(0, 256, (2 * shape[0], 3 * shape[1], 3), np.uint8)[::2, 1::3, ::-1]
    decoded = view_ppm(encode_ppm(part))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, part)


@pytest.mark.parametrize("first", [b"#", b" ", b"\n", b"0"])
def test_pixels_that_look_like_a_header_stay_pixels(first):
    image = np.frombuffer(first * 12, np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(view_ppm(encode_ppm(image)), image)


def test_the_pixels_are_those_of_the_file_and_cannot_be_written():
    data = encode_ppm(np.zeros((4, 5, 3), np.uint8))
    decoded = decode_image(data)
    assert not decoded.flags.writeable
    assert np.shares_memory(decoded, np.frombuffer(data, np.uint8))


def test_it_is_what_pillow_writes():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PPM")
    assert buffer.getvalue() == encode_ppm(image)


def test_other_headers_are_read_too():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    np.testing.assert_array_equal(decode_image(b"P6 # made by hand\n3\t2\n255\n" + image.tobytes()), image)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:11]])
def test_too_few_or_too_many_pixels_are_a_data_error(change):
    with pytest.raises(DataError, match="27 bytes of 3 x 3 pixels"):
        decode_image(change(encode_ppm(np.zeros((3, 3, 3), np.uint8))))


@pytest.mark.parametrize("header", [b"P6\n40000 25000\n255\n", b"P6\n4000000000 4000000000\n255\n"])
def test_an_image_of_a_billion_pixels_is_refused_before_memory_is_taken_for_it(header):
    with pytest.raises(DataError, match="pixels"):
        view_ppm(header)


@pytest.mark.parametrize("data", [b"", b"P6", b"P6\n0 5\n255\n", b"garbage that is no image"])
def test_garbage_is_a_data_error(data):
    with pytest.raises(DataError):
        decode_image(data)
