"""Refuse an image or a map that is too large, before memory is allocated for it."""

from collections.abc import Sequence

from sharding.errors import DataError
from sharding.limits import MAX_PIXELS, over


def check_pixels(size: Sequence[int]) -> None:
    """Refuse an image or a map that is too large.

    Args:
        size: Its two sides in pixels, in the order in which the message names them.

    Raises:
        ValueError: It has more than `MAX_PIXELS` pixels.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(over(f"{size[0]} x {size[1]} pixels", MAX_PIXELS))


def refuse_pixels(size: Sequence[int]) -> None:
    """Refuse an image or a map as `check_pixels` does.

    Raises:
        DataError: It has more than `MAX_PIXELS` pixels.
    """
    try:
        check_pixels(size)
    except ValueError as error:
        raise DataError(f"expected a map of numbers, found {error}") from error
