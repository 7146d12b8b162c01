"""The median of repeated measurements, with the least and the most of them; not a program itself."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Return `median`, `least` and `most` of at least one value, rounded to so many digits after the point."""
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, digits) for name, value in found.items()}
