"""Plain values: null, booleans, numbers, text, lists and mappings, as YAML and JSON both have them."""

import math
import re
import unicodedata
from typing import Any

from sharding.escaping import shorten

INTEGER = re.compile(r"[+-]?[0-9]+")
FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|nan)")

MAX_DEPTH = 6
"""Levels of lists and mappings inside each other."""

MAX_VALUES = 10_000
"""Values in one mapping, with those inside of it."""

_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "Null": None, "~": None, "": None}


def read_plain(text: str) -> Any:
    """Read a word without quotes: null, a boolean, a number, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text) if len(text) <= 20 else text  # more than 64 bits is no number here
    number = float(text) if FLOAT.fullmatch(text) else math.nan
    return number if math.isfinite(number) else text


def copy_mapping(value: Any) -> dict[str, Any]:
    """Copy a mapping of names to plain values; tuples become lists.

    Raises:
        ValueError: It is none, is too large, or holds another value; the message says where in it.
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping of names to values, found {_shown(value)}")
    left = [MAX_VALUES]
    copied: dict[str, Any] = _copy(value, "", MAX_DEPTH, left)
    return copied


def _copy(value: Any, place: str, depth: int, left: list[int]) -> Any:
    """Copy a value at `place`; `left` counts how many more there may be."""
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        raise ValueError(
            f"{place}: expected at most {MAX_VALUES} values, and {MAX_DEPTH} levels of lists and mappings, found more"
        )
    if isinstance(value, dict):
        inside = f"{place}." if place else ""
        return {_name(name, place): _copy(one, f"{inside}{name}", depth - 1, left) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(one, f"{place}[{index}]", depth - 1, left) for index, one in enumerate(value)]
    if not _is_scalar(value):
        raise ValueError(
            f"{place}: expected null, true, false, text, a finite number of at most 64 bits, a list or a mapping, "
            f"found {_shown(value)}"
        )
    return value


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not name or not _is_scalar(name):
        raise ValueError(f"{place or 'here'}: expected names as text, found {_shown(name)}")
    return name


def _is_scalar(value: Any) -> bool:
    if value is None or type(value) is bool:
        return True
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is str and "\0" not in value and not any(unicodedata.category(one) == "Cs" for one in value)


def _shown(value: Any) -> str:
    return shorten(repr(value), 80)
