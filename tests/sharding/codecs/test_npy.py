import io
import math

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sharding.codecs.hdf5 import read_depth
from sharding.codecs.npy import decode_npy, encode_npy, load_npy, view_npy
from sharding.codecs.parts import decode_valid
from sharding.codecs.planes import decode_planes
from sharding.errors import DataError
from sharding.limits import MAX_PIXELS


def save(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def claim(shape, descr="'<f4'", version=(1, 0), body=b""):
    """A file whose header claims something, whatever its bytes are."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + body


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(width=32)))
def test_npy_is_bit_exact_for_any_float(depth):
    assert decode_npy(encode_npy(depth)).tobytes() == depth.tobytes()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<u2", ">i4", "|u1", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_is_what_numpy_saves_and_loads(dtype, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, (3, 5)), dtype=dtype, order=order)
    found = load_npy(save(array))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, array)


def test_the_second_version_and_an_unaligned_header_are_read():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for version in [(1, 0), (2, 0)]:
        np.testing.assert_array_equal(decode_npy(claim("(2, 3)", version=version, body=array.tobytes())), array)


def test_a_trailing_axis_of_one_is_dropped():
    assert load_npy(save(np.zeros((4, 3, 1)))).shape == (4, 3)


def test_a_view_copies_nothing():
    data = save(np.zeros((4, 3)))
    assert np.shares_memory(view_npy(data), np.frombuffer(data, np.uint8))


HOSTILE = {
    "10^12 elements": claim("(1000000, 1000000)"),
    "10^40 elements": claim(f"({10**20}, {10**20})"),
    "more digits than Python takes": claim(f"({'9' * 5000}, 1)"),
    "negative": claim("(-2, -3)", body=bytes(24)),
    "none": claim("(0, 5)"),
    "no dimension": claim("()", body=bytes(4)),
    "sixty dimensions": claim(str((1,) * 60), body=bytes(4)),
    "nested": claim("(" * 4000),
    "code": claim("(__import__('os').getpid(), 1)"),
    "pickled": save(np.array([{}], dtype=object), allow_pickle=True),
    "objects": claim("(2, 3)", "'|O'", body=bytes(48)),
    "text": save(np.array([["far", "near"]])),
    "records": save(np.zeros((2, 3), [("depth", "<f4")])),
    "complex": save(np.zeros((2, 3), complex)),
    "dates": save(np.zeros((2, 3), "<M8[s]")),
    "wide text": claim("(2, 3)", f"'|S{10**9}'"),
    "no version": b"\x93NUMPY\x09\x09" + bytes(100),
    "wider than any machine's": save(np.zeros((2, 3), np.longdouble)),
    "truncated": save(np.zeros((4, 3)))[:-1],
    "trailing": save(np.zeros((4, 3))) + b"\0",
    "header alone": b"\x93NUMPY\x01\x00\xff\xff{",
    "empty": b"",
}


@pytest.mark.parametrize("decode", [load_npy, decode_npy, decode_planes, decode_valid])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_map_of_numbers_is_a_data_error(data, decode):
    with pytest.raises(DataError):
        decode(data)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_the_reason_is_short(data):
    with pytest.raises(DataError) as caught:
        load_npy(data)
    assert len(str(caught.value)) < 350


def test_the_error_names_what_is_claimed_and_what_is_there():
    with pytest.raises(DataError, match=r"float32 \(1000000, 1000000\) takes 4000000000000 bytes, found 0"):
        load_npy(HOSTILE["10^12 elements"])


def test_three_dimensions_are_no_map():
    with pytest.raises(DataError, match=r"expected a map of numbers .* found float64 \(2, 3, 4\)"):
        load_npy(save(np.zeros((2, 3, 4))))


@pytest.mark.parametrize("decode", [load_npy, decode_npy, decode_valid])
def test_more_pixels_than_are_read_are_refused_before_they_are_copied(decode):
    side = math.isqrt(MAX_PIXELS)
    assert load_npy(save(np.zeros((side, side), bool))).shape == (side, side)
    with pytest.raises(DataError, match=rf"found {side + 1} x {side} pixels; at most {MAX_PIXELS} are read"):
        decode(save(np.zeros((side + 1, side), bool)))


def test_more_pixels_in_byte_planes_are_refused():
    planes = np.broadcast_to(np.uint8(0), (4, 1, MAX_PIXELS + 1))
    with pytest.raises(DataError, match=rf"found 1 x {MAX_PIXELS + 1} pixels"):
        decode_planes(save(planes))


@given(hnp.arrays(st.sampled_from(["<f4", "?", "u1", ">f8"]), hnp.array_shapes(min_dims=1, max_dims=3)))
def test_what_is_written_is_what_numpy_writes(array):
    assert encode_npy(array) == save(array)


@pytest.mark.filterwarnings("error")
def test_a_finite_value_that_float32_cannot_hold_is_refused_where_a_set_is_made():
    with pytest.raises(DataError, match=r"expected depth that float32 can hold, found 1e\+300 in 24 pixels"):
        read_depth(stored(np.full((4, 6), 1e300)))
    assert np.isinf(read_depth(stored(np.full((4, 6), np.inf)))).all()
    kept = read_depth(stored(np.full((4, 6), 3e38)))
    assert (kept.dtype, kept[0, 0]) == (np.float32, np.float32(3e38))


@pytest.mark.filterwarnings("error")
def test_such_a_value_in_a_set_of_somebody_is_infinite():
    assert np.isinf(decode_npy(save(np.full((4, 6), 1e300)))).all()


def stored(array):
    with h5py.File(out := io.BytesIO(), "w") as file:
        file.create_dataset("depth", data=array)
    return out.getvalue()
