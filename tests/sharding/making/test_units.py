"""Depth that contradicts its unit is refused; DIODE's own values are not."""

import numpy as np
import pytest

from sharding.codecs.npy import encode_npy
from sharding.errors import DataError
from sharding.making.encode import Recipe
from sharding.making.units import FARTHEST_M, as_mask
from tests.sharding.making.test_encode import depth_of, encode_depth

DIODE, MEGADEPTH = Recipe(dataset="diode"), Recipe(dataset="megadepth")
METRES = np.linspace(0.6, 299.04, 48).reshape(6, 8)
MASK = np.ones((6, 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.bool_])
def test_integer_depth_of_diode_is_not_metres(dtype):
    with pytest.raises(DataError, match=rf"depth_npy: expected depth in metres as floating point.*{np.dtype(dtype)}"):
        encode_depth((METRES * 1000).astype(dtype), DIODE, MASK)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_what_the_sensor_measures_is_stored(dtype):
    depth = METRES.astype(dtype)
    found, valid = depth_of(encode_depth(depth, DIODE, MASK))
    np.testing.assert_array_equal(found, depth.astype(np.float32))
    assert valid.all()


@pytest.mark.parametrize(("factor", "unit"), [(1000, "millimetres"), (100, "centimetres"), (1e-3, "kilometres")])
def test_float_depth_in_another_unit_is_refused(factor, unit):
    with pytest.raises(DataError, match=r"expected depth in metres whose largest valid value is from 0\.3 to 400"):
        encode_depth((METRES * factor).astype(np.float32), DIODE, MASK)


def test_what_lies_under_the_mask_is_of_no_unit():
    depth, mask = METRES.astype(np.float32), MASK.copy()
    depth[0, 0], depth[0, 1], depth[0, 2], mask[0, :3] = 1e9, np.inf, -5, 0
    found, valid = depth_of(encode_depth(depth, DIODE, mask))
    np.testing.assert_array_equal(found, depth)
    np.testing.assert_array_equal(valid, mask == 1)


def test_one_valid_pixel_beyond_the_sensor_is_enough():
    depth = METRES.astype(np.float32)
    depth[0, 0] = FARTHEST_M
    encode_depth(depth, DIODE, MASK)
    depth[0, 0] = np.nextafter(np.float32(FARTHEST_M), np.float32(np.inf))
    with pytest.raises(DataError, match=r"found 400\.000031: is it in another unit"):
        encode_depth(depth, DIODE, MASK)


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_megadepth_has_no_unit(scale):
    encoded = encode_depth((METRES * scale).astype(np.float32), MEGADEPTH)
    assert encoded.depth.kind == "up_to_scale"


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "u1", "<i2", "?"])
def test_a_mask_of_0_and_1_is_read_in_any_type(dtype):
    mask = np.array([[0, 1], [1, 0]])
    np.testing.assert_array_equal(as_mask(mask.astype(dtype)), mask == 1)


@pytest.mark.parametrize("value", [0.5, 2, 255, -1, np.nan, np.inf])
def test_a_mask_of_other_values_is_refused(value):
    mask = MASK.copy()
    mask[0, :2] = value
    with pytest.raises(DataError, match=r"mask_npy: expected a mask of 0 and 1, found .* in 2 pixels"):
        encode_depth(METRES.astype(np.float32), DIODE, mask)


def test_a_mask_of_bytes_that_are_no_bool_is_read_as_such():
    data = bytearray(encode_npy(np.zeros((2, 3), bool)))
    data[-1] = 7
    mask = np.frombuffer(bytes(data[-6:]), np.bool_).reshape(2, 3)
    assert as_mask(mask).view(np.uint8).tolist() == [[0, 0, 0], [0, 0, 1]]
