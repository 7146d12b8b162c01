import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from sharding.codecs import limits
from sharding.codecs.image import decode_image
from sharding.codecs.npy import encode_npy
from sharding.codecs.rows import decode_rows, encode_rows
from sharding.errors import DataError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=60).map(lambda shape: (*shape, 3))


def random_image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@given(hnp.arrays(np.uint8, SHAPES))
def test_rows_are_bit_exact(image):
    decoded = decode_rows(encode_rows(image))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("width", [1, 3, 127, 200])
@pytest.mark.parametrize("height", [1, 2, 23, 24, 25, 47, 48, 49, 72])
def test_rows_take_odd_sizes_and_images_that_are_not_contiguous(height, width):
    part = random_image(2 * height, 3 * width)[::2, 1::3, ::-1]
    for data in (encode_rows(part), memoryview(encode_rows(part))):
        np.testing.assert_array_equal(decode_rows(data), part)


def test_numpy_alone_reads_rows():
    image = random_image(9, 70)
    differences = np.load(io.BytesIO(encode_rows(image)))
    np.testing.assert_array_equal(np.cumsum(differences, axis=0, dtype=np.uint8), image)


def test_a_row_is_stored_minus_the_row_above_modulo_256():
    image = np.array([[[1, 2, 250]], [[4, 0, 5]]], np.uint8)
    assert np.load(io.BytesIO(encode_rows(image))).tolist() == [[[1, 2, 250]], [[3, 254, 11]]]


def test_encoding_leaves_the_image_as_it_was():
    image = random_image(5, 6)
    before = image.copy()
    encode_rows(image)
    np.testing.assert_array_equal(image, before)


def test_a_part_is_known_by_its_first_bytes():
    image = random_image(7, 80)
    for data in (encode_rows(image), memoryview(encode_rows(image))):
        np.testing.assert_array_equal(decode_image(data), image)


WHOLE = encode_rows(random_image(4, 5))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage that is no file",
        WHOLE[:-1],
        WHOLE + b"\0",
        WHOLE[:20],
        encode_npy(np.zeros((4, 5), np.uint8)),
        encode_npy(np.zeros((4, 5, 4), np.uint8)),
        encode_npy(np.zeros((4, 5, 3), np.int8)),
        encode_npy(np.zeros((4, 5, 3), np.float32)),
    ],
)
def test_what_are_no_rows_is_a_data_error(data):
    with pytest.raises(DataError, match=r"differences of rows, uint8 \(H, W, 3\), found"):
        decode_rows(data)


def test_too_many_pixels_are_refused_before_memory_is_taken_for_them(monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 19)
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(DataError, match="found 4 x 5 pixels"):
        decode_rows(WHOLE)
