import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sharding.codecs import limits
from sharding.codecs.log16_planes import (
    MAX_CODED,
    MAX_STEPS,
    count_steps,
    decode_log16_planes,
    encode_log16_planes,
    view_log16_planes,
)
from sharding.codecs.npy import encode_npy
from sharding.codecs.parts import decode_depth
from sharding.codecs.planes import MAX_ROUNDING
from sharding.errors import DataError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)
METRES = st.floats(0.30000001192092896, 350, width=32)


def largest_error(depth, decoded):
    exact = depth.astype(np.float64)
    return float((np.abs(decoded - exact) / exact).max(initial=0))


@given(hnp.arrays(np.float32, SHAPES, elements=METRES), st.integers(0, 2**32 - 1))
def test_valid_depth_is_within_the_bound_and_all_else_is_zero(depth, seed):
    valid = np.random.default_rng(seed).random(depth.shape) < 0.7
    decoded = decode_log16_planes(encode_log16_planes(np.where(valid, depth, np.nan), valid))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded > 0, valid)
    assert largest_error(depth[valid], decoded[valid]) <= MAX_CODED < MAX_ROUNDING
    assert not decoded[~valid].any()


@pytest.mark.parametrize(("near", "far"), [(0.3, 350), (1e-3, 200), (2, 2.001), (1e-38, 2e-33), (2e33, 3.4e38)])
def test_the_bound_holds_over_a_whole_range(near, far):
    depth = np.geomspace(near, far, 100_000).astype(np.float32).reshape(100, 1000)
    decoded = decode_log16_planes(encode_log16_planes(depth, depth > 0))
    assert largest_error(depth, decoded) <= MAX_CODED
    assert (decoded.min(), decoded.max()) == (depth.min(), depth.max())


def test_there_are_as_many_steps_as_the_bound_needs_and_no_more():
    for far in (1.00001, 1.5, 90, 1e5):
        steps = count_steps(1, far)
        half = [math.expm1(math.log(far) / count / 2) for count in (steps, max(1, steps - 1))]
        assert half[0] <= MAX_CODED
        assert half[1] > MAX_CODED - 2**-22 or steps == 1


def test_one_depth_only_and_none_at_all():
    depth = np.full((3, 4), 7.25, np.float32)
    np.testing.assert_array_equal(decode_log16_planes(encode_log16_planes(depth, depth > 0)), depth)
    assert not decode_log16_planes(encode_log16_planes(depth, depth < 0)).any()


def test_a_range_that_needs_too_many_steps_is_refused():
    depth = np.array([[1e-3, 1e4]], np.float32)
    assert count_steps(1e-3, 1e4) > MAX_STEPS
    with pytest.raises(DataError, match="expected depth of 65534 steps or fewer, found"):
        encode_log16_planes(depth, depth > 0)


def test_numpy_alone_reads_the_record():
    depth = np.random.default_rng(0).uniform(0.5, 90, (5, 7)).astype(np.float32)
    data = encode_log16_planes(depth, depth > 1)
    record = np.load(io.BytesIO(data))[0]
    code = record["planes"][0] + 256.0 * record["planes"][1]
    plain = record["near"] * (record["far"] / record["near"]) ** ((code - 1) / record["steps"])
    expected = np.where(code > 0, plain, 0)
    np.testing.assert_allclose(decode_depth(memoryview(data), "log16.npy"), expected, rtol=1e-6)


NUMBERS = [("near", "<f8"), ("far", "<f8"), ("steps", "<u4")]


def record(near=1.0, far=2.0, steps=9, planes=None):
    planes = np.ones((2, 3, 4), np.uint8) if planes is None else planes
    array = np.zeros(1, [*NUMBERS, ("planes", planes.dtype, planes.shape)])
    array["near"], array["far"], array["steps"], array["planes"][0] = near, far, steps, planes
    return encode_npy(array)


@pytest.mark.parametrize(
    "fields",
    [
        {"near": 0.0}, {"near": -1.0}, {"near": 3.0}, {"near": math.nan}, {"far": math.inf}, {"far": math.nan},
        {"near": 1e-300}, {"far": 1e300}, {"steps": 0}, {"steps": 65535}, {"steps": 2**32 - 1},
    ],
)  # fmt: skip
def test_what_is_no_range_of_depth_is_a_data_error(fields):
    with pytest.raises(DataError, match="expected depth with 0 < near <= far, 1 to 65534 steps, found"):
        decode_log16_planes(record(**fields))


def test_a_code_beyond_the_steps_is_a_data_error():
    planes = np.zeros((2, 3, 4), np.uint8)
    planes[0, 1, 2] = 10
    assert decode_log16_planes(record(planes=planes))[1, 2] == 2
    planes[0, 1, 2] = 11
    with pytest.raises(DataError, match="expected codes of depth up to 10, found 11"):
        decode_log16_planes(record(planes=planes))


WHOLE = record(planes=np.zeros((2, 3, 4), np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage that is no file",
        WHOLE[:-1],
        WHOLE + b"\0",
        encode_npy(np.zeros((2, 3, 4), np.uint8)),
        encode_npy(np.zeros((2, 3, 4), np.uint16)),
        record(planes=np.zeros((3, 3, 4), np.uint8)),
        record(planes=np.zeros((2, 3), np.uint8)),
        record(planes=np.zeros((2, 3, 4), np.int8)),
        record(planes=np.zeros((2, 3, 4), np.uint16)),
        encode_npy(np.zeros(1, NUMBERS)),
        encode_npy(np.zeros(1, [*NUMBERS, ("planes", "|u1")])),
        encode_npy(np.zeros(1, [NUMBERS[1], NUMBERS[0], NUMBERS[2], ("planes", "|u1", (2, 3, 4))])),
        encode_npy(np.zeros(1, [("near", ">f8"), *NUMBERS[1:], ("planes", "|u1", (2, 3, 4))])),
        encode_npy(np.zeros(2, [*NUMBERS, ("planes", "|u1", (2, 3, 4))])),
    ],
)
def test_what_is_no_such_record_is_a_data_error(data):
    with pytest.raises(DataError, match=r"a record of near, far, steps and planes, uint8 \(2, H, W\), found"):
        decode_log16_planes(data)


def test_too_many_pixels_are_refused_before_memory_is_taken_for_them(monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 11)
    monkeypatch.setattr(np, "zeros", None)
    with pytest.raises(DataError, match="found 3 x 4 pixels"):
        decode_log16_planes(WHOLE)


def test_the_planes_are_those_of_the_file_and_cannot_be_written():
    planes = view_log16_planes(WHOLE).planes
    assert not planes.flags.writeable
    assert np.shares_memory(planes, np.frombuffer(WHOLE, np.uint8))
