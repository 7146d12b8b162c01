"""One result of a part, and the stages that give them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Check:
    """A result.

    Attributes:
        name: Of the check.
        ok: Whether it holds; True for a figure without a bound; None if it cannot be tried here.
        why: Why it does not hold, or cannot be tried.
        figures: What was measured; values are numbers, text, or null, with the unit in the name.
    """

    name: str
    ok: bool | None
    why: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the name; numbers that are not finite, which JSON cannot write, as text."""
        return {name: _plain(value) for name, value in asdict(self).items() if name != "name"}


Stage = tuple[tuple[str, ...], Callable[[Any], Iterator[Check]]]
"""Names of checks, and what yields them from a `Bench`; a stage that raises leaves the other stages of its part."""


def unable(name: str, why: str) -> Check:
    """Return the result of a check that this machine cannot do."""
    return Check(name=name, ok=None, why=why)


def bounded(name: str, value: float, bound: float, **figures: Any) -> Check:
    """Return the result of a check that holds if `value` is at most `bound`."""
    ok = value <= bound  # False for NaN
    why = "" if ok else f"expected at most {bound:g}, found {value:g}"
    return Check(name=name, ok=ok, why=why, figures={"value": value, "bound": bound} | figures)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
