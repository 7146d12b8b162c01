"""JSON that nobody vouches for, decoded against types: manifests, lines of ledger and quarantine, members of samples.

A type is a frozen dataclass, and its annotations are the schema. Fields that it does not have are ignored, so that a
later version of the program may add some within a version of the format; a field that it has is of its type, or the
file is refused.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.limits import MAX_JSON_BYTES, MAX_TEXT_CHARS, over

T = TypeVar("T")

_INT64 = (1 << 63) - 1

Count = Annotated[int, msgspec.Meta(ge=0, le=_INT64)]
"""A number of things, bytes or ns: fits int64."""

Pixels = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
"""Height or width: fits int32."""

Crc = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
"""A checksum of 32 bits."""

Number = Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64)]
"""A whole number: fits int64."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""64 lower-case hexadecimal digits."""

_ANCHOR = re.compile(r"\\+[AZ]")  # of a pattern, as msgspec shows it
_GZIP_MAGIC = b"\x1f\x8b"
_MIN_OBJECT_BYTES, _FREE_OBJECTS = 32, 10_000
_SHOWN_CHARS = 80  # of a value that was found
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")  # of a path as msgspec writes it: a field, or a place in a list


Floats = Literal["finite", "nan", "all"]
"""Which floating-point numbers are read: NaN and Infinity are none of JSON, but Python writes them."""


def read_json(data: bytes, kind: type[T], where: str, *, floats: Floats = "finite") -> T:
    """Decode JSON to a type.

    Args:
        data: The file, or a line of it.
        kind: The type.
        where: Name of the file, for messages.
        floats: Which ones are accepted.

    Raises:
        DataError: It is too large, no JSON, or not of the type; names the field, what was expected and what was found.
    """
    return to_type(parse(data, where, floats=floats), kind, where)


def to_type(content: Any, kind: type[T], where: str, place: str = "") -> T:
    """Make a value of a type from what `parse` returned, or from other plain values.

    Args:
        content: What was read.
        kind: The type.
        where: Name of the file, for messages.
        place: The field of the file that it is, if it is not all of it.

    Raises:
        DataError: It is not of the type; names the field, what was expected and what was found.
    """
    try:
        return msgspec.convert(content, kind)
    except RecursionError:
        raise DataError(f"{where}: expected values of a few levels, found a deeply nested one") from None
    except UnicodeEncodeError:  # in the name of a field, or where a word is chosen from several
        raise DataError(f"{where}: expected names of fields and words, found half characters") from None
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {_explain(str(error), content, kind, place)}") from None


def parse(data: bytes, where: str, *, floats: Floats = "finite") -> Any:
    """Parse JSON without a type; see `read_json`.

    Raises:
        DataError: It is too large, or no JSON.
    """
    if len(data) > MAX_JSON_BYTES:
        raise DataError(f"{where}: {over(f'found {len(data)} bytes', MAX_JSON_BYTES)}")
    if data.startswith(_GZIP_MAGIC):
        raise DataError(f"{where}: expected JSON, found a gzip file of {len(data)} bytes: decompress it")
    # An object or a list takes up to 200 bytes of memory; of ours each is at least 32 bytes long, but for a few.
    if (count := data.count(b"{") + data.count(b"[")) > _FREE_OBJECTS + len(data) // _MIN_OBJECT_BYTES:
        raise DataError(f"{where}: expected records, found {count} objects and lists in {len(data)} bytes of JSON")
    try:
        # Not msgspec's parser: names of files may hold bytes that are no UTF-8, which JSON has as half characters.
        return json.loads(data.decode(), parse_constant=_CONSTANTS[floats], parse_float=_FLOATS[floats])
    except RecursionError:
        raise DataError(f"{where}: expected JSON of a few levels, found a deeply nested value") from None
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{where}: expected JSON, found {len(data)} bytes of something else: {reason}") from None


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _nan(text: str) -> float:
    return math.nan if text == "NaN" else _refuse(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(shorten(text, _SHOWN_CHARS))


_CONSTANTS: dict[Floats, Callable[[str], float]] = {"finite": _refuse, "nan": _nan, "all": float}
_FLOATS: dict[Floats, Callable[[str], float]] = {"finite": _finite, "nan": _finite, "all": float}


def _explain(said: str, content: Any, kind: Any, within: str) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.shards[0].samples`" into field, expected and found."""
    text, _, path = said.replace("`", "").partition(" - at ")
    steps = [int(number) if number else name for name, number in _STEP.findall(path)]
    field = f"{within}{path.removeprefix('key in ').removeprefix('$')}".removeprefix(".")
    place = f"{field}: " if field else ""
    if text.startswith("Object missing"):
        return f"{place}expected a field {text.rpartition(' ')[2]}, found none"
    if text.startswith("Object contains unknown"):
        return f"{place}expected no field {text.rpartition(' ')[2]}"
    if text.startswith("Invalid enum"):
        text = f"Expected one of {', '.join(map(repr, _choices(kind, steps)))}"
    expected = _ANCHOR.sub("", text.partition(", got ")[0]).replace("str matching regex", "text of the form")
    found = "" if "[...]" in path or path.startswith("key in") else f", found {_show(content, steps)}"
    return f"{place}{expected[:1].lower()}{expected[1:]}{found}"


def _show(content: Any, steps: list[int | str]) -> str:
    for step in steps:
        content = content[step]
    if isinstance(content, dict | list | tuple):
        return f"{'an object' if isinstance(content, dict) else 'a list'} of {len(content)}"
    return shorten(json.dumps(content, default=lambda value: f"({type(value).__name__})"), _SHOWN_CHARS)


def _choices(kind: Any, steps: list[int | str]) -> tuple[Any, ...]:
    """Return the values that the type accepts at a place."""
    found = cast(Any, msgspec.inspect.type_info(kind))
    for step in steps:
        if isinstance(step, int):
            found = found.item_type
        else:
            found = next(field.type for field in found.fields if field.name == step)
    return tuple(found.values)
