"""Which pairs of arms are compared: those named beforehand, else all."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from sharding.errors import UsageError
from sharding.options import suggest


def choose_pairs(text: str | None, names: Sequence[str]) -> list[tuple[str, str]]:
    """Read `--contrasts a:b,c:d`; without it return all pairs, in the order of the arms.

    Raises:
        UsageError: A name is that of no arm, an arm is compared with itself, or a pair is named twice, in any order.
    """
    if text is None:
        return list(combinations(names, 2))
    found: list[tuple[str, str]] = []
    for part in _parts(text, names):
        pair = _pair(part.strip(), names)
        if pair[0] == pair[1]:
            raise UsageError(f"--contrasts: {pair[0]} is compared with itself in {part.strip()!r}")
        if any(set(pair) == set(other) for other in found):
            raise UsageError(f"--contrasts: {pair[0]} and {pair[1]} are compared twice")
        found.append(pair)
    return found


def _parts(text: str, names: Sequence[str]) -> Iterator[str]:
    """Split A:B,C:D, where a name may contain commas itself: each part is the shortest that names two arms."""
    words = text.split(",")
    while words:
        starts = (",".join(words[:end]) for end in range(1, len(words) + 1))
        part = next((one for one in starts if _known(one.strip(), names)), words[0])
        yield part
        words = words[part.count(",") + 1 :]


def _known(text: str, names: Sequence[str]) -> bool:
    return any(a in names and b in names for a, b in _splits(text))


def _pair(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Split A:B, where a name may contain colons itself."""
    pairs = list(_splits(text))
    for a, b in pairs:
        if a in names and b in names:
            return a, b
    if len(pairs) != 1:
        raise UsageError(
            f"--contrasts: expected A:B,C:D with the names of arms, found {text!r}; there are {', '.join(names)}"
        )
    unknown = next(name for name in pairs[0] if name not in names)
    raise UsageError(f"--contrasts: no arm named {unknown!r}{suggest(unknown, list(names))}")


def _splits(text: str) -> Iterator[tuple[str, str]]:
    words = text.split(":")
    for at in range(1, len(words)):
        yield ":".join(words[:at]).strip(), ":".join(words[at:]).strip()
