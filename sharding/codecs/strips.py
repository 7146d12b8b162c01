"""Maps in strips of rows, so that what is computed of them takes little memory, however large they are."""

from collections.abc import Iterator, Sequence

_PIXELS = 1 << 20


def strips(shape: Sequence[int]) -> Iterator[slice]:
    """Cut a map (H, W) into strips of rows.

    Args:
        shape: Its sides in pixels.
    """
    rows = max(1, _PIXELS // max(1, shape[1]))
    return (slice(top, top + rows) for top in range(0, shape[0], rows))
