"""MegaDepth's HDF5 depth files: one dataset `/depth`, (H, W). The only file that knows HDF5."""

import io
import os
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError

DATASET = "/depth"


def read_depth(source: bytes | str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read the depth map of an HDF5 file.

    Args:
        source: The file's bytes, or its path.

    Returns:
        float32 (H, W) as stored: up-to-scale depth with 0 for no depth, or ordinal labels.

    Raises:
        DataError: The file is missing, damaged or no HDF5 file, or `/depth` is missing or not of two dimensions.
    """
    where = f"HDF5 file of {len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)
    try:
        with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            return _read_dataset(file, where)
    # A damaged file shows itself as OSError, or deep in the library as RuntimeError, KeyError or ValueError.
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DataError(f"{where}: cannot be read as HDF5 ({error}); it may be truncated, fetch it again") from error


def write_depth(path: str | os.PathLike[str], depth: NDArray[np.float32]) -> None:
    """Write a depth map as MegaDepth does: the same depth gives the same bytes.

    Args:
        path: File to write; replaced if it exists.
        depth: float32 (H, W).
    """
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, data=np.asarray(depth, np.float32), track_times=False)


def _read_dataset(file: Any, where: str) -> NDArray[np.float32]:
    found = file.get(DATASET)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{where}: expected a dataset {DATASET!r}, found {sorted(file)}; is it a MegaDepth depth file?")
    if len(found.shape) != 2:
        raise DataError(
            f"{where}: expected {DATASET!r} of shape (H, W), found {found.shape}; is it a MegaDepth depth file?"
        )
    return np.asarray(found[()], np.float32)
