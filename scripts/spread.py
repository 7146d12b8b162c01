"""The median of repeated measurements, with the least and the most of them; not a program itself."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return `median`, `least` and `most` of at least one value, rounded to thousandths."""
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
    }
