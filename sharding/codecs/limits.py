"""How large an image or a map may be. What is larger is refused before memory is taken for it."""

from collections.abc import Sequence

MAX_PIXELS = 200_000_000
"""An image or a map of more pixels is none of ours: the header is wrong, or made to hurt."""


def check_pixels(size: Sequence[int]) -> None:
    """Refuse an image or a map that is too large to be one of ours.

    Args:
        size: Its two sides in pixels, in the order in which the message shall name them.

    Raises:
        ValueError: It has more than `MAX_PIXELS` pixels.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are decoded")
