"""The largest image or map that is decoded. A larger one is refused before memory is allocated for it."""

from collections.abc import Sequence

MAX_PIXELS = 200_000_000
"""No image of the data sets is near this: a header that claims more pixels is damaged, or made to exhaust memory."""


def check_pixels(size: Sequence[int]) -> None:
    """Refuse an image or a map that is too large.

    Args:
        size: Its two sides in pixels, in the order in which the message names them.

    Raises:
        ValueError: It has more than `MAX_PIXELS` pixels.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are decoded")
