"""Images as differences of rows: a `.npy` file of uint8 (H, W, 3), each row minus the row above it, modulo 256.

zstd finds more in the differences than in the pixels, and finds it faster at its first level. The sums of the rows are
the pixels again, bit for bit: numpy alone reads the file by `np.cumsum(differences, axis=0, dtype=np.uint8)`.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from sharding.codecs.limits import refuse_pixels
from sharding.codecs.npy import encode_npy, view_npy
from sharding.errors import DataError

_EXPECTED = "a .npy file of differences of rows, uint8 (H, W, 3)"
_STRIP = 24
"""Rows that are summed from one on, in all strips of an image at once: twice as fast as row by row."""


def encode_rows(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) RGB as differences of rows: bit-exact."""
    differences = image.copy()
    differences[1:] -= image[:-1]
    return encode_npy(differences)


def view_rows(data: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the differences that `encode_rows` wrote, uint8 (H, W, 3), as a read-only view of `data`.

    Raises:
        DataError: It is no such file, or of more than `MAX_PIXELS` pixels.
    """
    differences = view_npy(data, _EXPECTED)
    if differences.ndim != 3 or differences.shape[2] != 3 or differences.dtype != np.uint8:
        raise DataError(f"expected {_EXPECTED}, found {differences.dtype} {differences.shape}")
    refuse_pixels(differences.shape[:2])
    return differences


def decode_rows(data: bytes | memoryview) -> NDArray[np.uint8]:
    """Decode what `encode_rows` wrote: uint8 (H, W, 3), RGB.

    Raises:
        DataError: It is no such file, or of more than `MAX_PIXELS` pixels.
    """
    differences = view_rows(data)
    image = np.empty(differences.shape, np.uint8)
    whole = len(image) // _STRIP * _STRIP  # rows of whole strips
    _sum_strips(*(array[:whole].reshape(-1, _STRIP, *array.shape[1:]) for array in (differences, image)))
    for row in range(whole, len(image)):
        np.add(differences[row], image[row - 1] if row else np.uint8(0), out=image[row])
    return image


def _sum_strips(differences: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Sum the rows of strips, uint8 (N, _STRIP, W, 3), from the first to the last."""
    image[:, 0] = differences[:, 0]
    for row in range(1, _STRIP):
        np.add(differences[:, row], image[:, row - 1], out=image[:, row])
    for above, strip in itertools.pairwise(image):
        strip += above[-1]
