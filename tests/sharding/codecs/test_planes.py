import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sharding.codecs.npy import encode_npy
from sharding.codecs.planes import MAX_ROUNDING, decode_planes, encode_planes, round_depth
from sharding.errors import DataError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


def largest_error(depth, rounded):
    exact = depth.astype(np.float64)
    return float((np.abs(rounded - exact) / exact).max(initial=0))


@given(hnp.arrays(np.uint32, SHAPES))
def test_planes_keep_every_bit_of_any_float(bits):
    depth = bits.view(np.float32)
    decoded = decode_planes(encode_planes(depth))
    assert decoded.dtype == np.float32
    assert decoded.shape == depth.shape
    assert decoded.tobytes() == depth.tobytes()


def test_planes_keep_the_payload_of_a_nan_and_the_sign_of_a_zero():
    bits = np.array([[0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 0x7F800000, 0x00000001]], np.uint32)
    assert decode_planes(encode_planes(bits.view(np.float32))).tobytes() == bits.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5), (24, 33)])
def test_planes_take_odd_sizes_and_views_that_are_not_contiguous(shape):
    whole = np.random.default_rng(0).normal(size=(2 * shape[0], 3 * shape[1])).astype(np.float32)
    part = whole[::2, 1::3]
    np.testing.assert_array_equal(decode_planes(encode_planes(part)), part)


def test_the_lowest_byte_comes_first():
    planes = np.load(io.BytesIO(encode_planes(np.array([[0x04030201]], np.uint32).view(np.float32))))
    assert planes.ravel().tolist() == [1, 2, 3, 4]


def test_numpy_alone_reads_planes():
    depth = np.random.default_rng(0).uniform(0.3, 350, (6, 9)).astype(np.float32)
    planes = np.load(io.BytesIO(encode_planes(depth)))
    np.testing.assert_array_equal(np.stack(planes, -1).view("<f4")[..., 0], depth)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage that is no file",
        encode_planes(np.ones((4, 4), np.float32))[:-1],
        encode_npy(np.ones((4, 4), np.float32)),
        encode_npy(np.ones((3, 4, 4), np.uint8)),
        encode_npy(np.ones((4, 4, 4), np.int8)),
        encode_planes(np.ones((4, 4), np.float32)) + b"\0",
        encode_npy(np.ones((4, 4), np.uint8)),
    ],
)
def test_what_are_no_planes_is_a_data_error(data):
    with pytest.raises(DataError, match="byte planes"):
        decode_planes(data)


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(0.30000001192092896, 350, width=32)))
def test_rounding_stays_within_its_bound_from_0_3_to_350_m(depth):
    assert largest_error(depth, round_depth(depth, np.ones_like(depth, bool))) <= 2**-13 / 1.25 < MAX_ROUNDING


def test_rounding_stays_within_its_bound_for_every_mantissa():
    for mantissas in np.split(np.arange(1 << 23, dtype=np.uint32), 8):
        depth = (mantissas | np.uint32(0x3F800000)).view(np.float32)[None]
        assert largest_error(depth, round_depth(depth, np.ones_like(depth, bool))) <= 2**-13 / 1.25


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(0, exclude_min=True, allow_infinity=False, width=32)))
def test_rounding_stays_finite_above_zero_and_within_its_bound_for_any_valid_depth(depth):
    rounded = round_depth(depth, np.ones_like(depth, bool))
    assert (np.isfinite(rounded) & (rounded > 0)).all()
    assert largest_error(depth, rounded) < MAX_ROUNDING


@pytest.mark.parametrize("value", [0.7, 65.6, 256.5, 299.98865, 350.0])
def test_far_depth_does_not_wrap(value):
    depth = np.full((3, 4), value, np.float32)
    np.testing.assert_allclose(round_depth(depth, depth > 0), depth, rtol=MAX_ROUNDING)


def test_rounding_clears_the_low_bits_that_it_promises_to_clear():
    depth = np.random.default_rng(0).uniform(0.3, 350, (64, 64)).astype(np.float32)
    assert not (round_depth(depth, depth > 0).view(np.uint32) & 0x3FF).any()


def test_rounding_twice_changes_nothing():
    depth = np.random.default_rng(0).uniform(0.3, 350, (64, 64)).astype(np.float32)
    once = round_depth(depth, depth > 0)
    np.testing.assert_array_equal(round_depth(once, once > 0), once)


def test_rounding_makes_invalid_pixels_zero_whatever_lies_there():
    depth = np.array([[1, np.nan, -3, np.inf, 4, 7]], np.float32)
    valid = np.array([[True, False, False, False, True, False]])
    assert round_depth(depth, valid).tolist() == [[1, 0, 0, 0, 4, 0]]
    assert not round_depth(depth, np.zeros_like(valid)).any()
