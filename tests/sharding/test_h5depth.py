"""HDF5 depth files: what is written is read, and damage is named."""

import h5py
import numpy as np
import pytest

from sharding.errors import DataError
from sharding.h5depth import read_depth, write_depth


@pytest.fixture
def depth():
    return np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


def test_depth_survives_by_path_and_by_bytes(tmp_path, depth):
    path = tmp_path / "a.h5"
    write_depth(path, depth)
    for source in (path, str(path), path.read_bytes()):
        found = read_depth(source)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, depth)


def test_same_depth_gives_same_bytes(tmp_path, depth):
    write_depth(tmp_path / "a.h5", depth)
    write_depth(tmp_path / "b.h5", depth)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_other_float_types_are_read_as_float32(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = depth.astype(np.float64)
    found = read_depth(tmp_path / "a.h5")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, depth)


def test_missing_dataset_is_named_with_what_is_there(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["disparity"] = depth
    with pytest.raises(DataError, match=r"a\.h5: expected a dataset '/depth', found \['disparity'\]"):
        read_depth(tmp_path / "a.h5")


def test_group_in_place_of_the_dataset_is_refused(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth/inner"] = depth
    with pytest.raises(DataError, match="expected a dataset"):
        read_depth(tmp_path / "a.h5")


def test_third_dimension_is_refused(tmp_path, depth):
    write_depth(tmp_path / "a.h5", depth[..., None])
    with pytest.raises(DataError, match=r"of shape \(H, W\), found \(5, 7, 1\)"):
        read_depth((tmp_path / "a.h5").read_bytes())


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, -1])
def test_truncated_file_is_refused(tmp_path, depth, keep):
    write_depth(tmp_path / "a.h5", depth)
    whole = (tmp_path / "a.h5").read_bytes()
    part = whole[: int(len(whole) * keep) if isinstance(keep, float) else keep]
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_depth(part)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.h5: cannot be read"):
        read_depth(tmp_path / "none.h5")


def test_text_in_place_of_numbers_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = np.array([[b"far", b"near"]])
    with pytest.raises(DataError, match=r"a\.h5"):
        read_depth(tmp_path / "a.h5")
