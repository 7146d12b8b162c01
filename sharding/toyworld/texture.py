"""Procedural textures of fixed metric scale, blurred over the footprint of a pixel so that far ones do not flicker."""

from collections.abc import Sequence

import numpy as np

from sharding.toyworld.params import Octave
from sharding.toyworld.scene import Reals


def layered_noise(lattice: Reals, x: Reals, y: Reals, width: Reals, octaves: Sequence[Octave]) -> Reals:
    """Sum value noise of several wavelengths, each fading out where a pixel is too wide to show it.

    Args:
        lattice: float32 (n, n) in [-1, 1), n a power of two.
        x: float32 (N,), metres.
        y: float32 (N,), metres.
        width: float32 (N,), metres that a pixel covers.
        octaves: Wavelengths and amplitudes.

    Returns:
        float32 (N,), within plus and minus the sum of the amplitudes.
    """
    total = np.zeros_like(x)
    for wavelength, amplitude in octaves:
        # 1 up to a pixel of a quarter wavelength, 0 from three quarters; half a wavelength is the Nyquist limit.
        share = np.clip(1.5 - 2.0 * width / wavelength, 0.0, 1.0)
        seen = np.flatnonzero(share)
        total[seen] += amplitude * share[seen] * value_noise(lattice, x[seen] / wavelength, y[seen] / wavelength)
    return total


def value_noise(lattice: Reals, x: Reals, y: Reals) -> Reals:
    """Interpolate the lattice smoothly (cubic ease) at float32 (N,) positions, repeating it beyond its edges."""
    wrap = len(lattice) - 1
    # `& wrap` is the remainder by n, a power of two, also of negative numbers.
    column, row = np.floor(x), np.floor(y)
    u, v = x - column, y - row
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    i, j = column.astype(np.int64) & wrap, row.astype(np.int64) & wrap
    # From here on j and next_j are offsets of rows in the flat lattice: entry (row, column) is at row * n + column.
    flat, next_i, j, next_j = lattice.ravel(), (i + 1) & wrap, j * (wrap + 1), ((j + 1) & wrap) * (wrap + 1)
    low = flat[j + i] + u * (flat[j + next_i] - flat[j + i])
    high = flat[next_j + i] + u * (flat[next_j + next_i] - flat[next_j + i])
    return low + v * (high - low)


def stripes(x: Reals, period: float, thick: float, width: Reals) -> Reals:
    """Return the share of a pixel that a pattern of stripes covers: exact box filter of the pattern.

    Args:
        x: float32 (N,), position across the stripes, metres; the first stripe is [0, thick).
        period: From stripe to stripe, metres.
        thick: Of a stripe, metres.
        width: float32 (N,), metres that a pixel covers.

    Returns:
        float32 (N,) in [0, 1].
    """
    # Mean over [x - half, x + half]: the difference of the integral at both ends by its length. At least 1 cm wide.
    half = np.maximum(width, 0.01) / 2.0
    turns = np.floor(x / period)
    local = x - turns * period  # keeps float32 exact far from the origin
    return (_covered(local + half, period, thick) - _covered(local - half, period, thick)) / (2.0 * half)


def cell_value(lattice: Reals, *index: Reals) -> Reals:
    """Return a value in [-1, 1) for each cell of integer coordinates (float32 (N,) each), without visible pattern."""
    wrap = len(lattice) - 1
    # A polynomial hash; its low 7 bits choose the column of the 128 x 128 lattice, the next 7 the row.
    mixed = np.zeros(index[0].shape, np.int64)
    for number, part in enumerate(index):
        mixed = mixed * 131 + (part.astype(np.int64) + number) * 7919
    return np.asarray(lattice[(mixed >> 7) & wrap, mixed & wrap])


def _covered(x: Reals, period: float, thick: float) -> Reals:
    """Return the length of stripes within [0, x)."""
    turns = np.floor(x / period)
    return np.asarray(turns * thick + np.minimum(x - turns * period, thick))
