"""Options of a command from a frozen dataclass, whose fields are the only list of them.

Field `batch_size: int = option(32, "samples of a step", least=1)` becomes `--batch-size 32`; a field made by
`argument(...)` is positional; one of type `dict[str, Any]` is a mapping, which only a file has. `options_of` reads the
fields; the command line and a YAML file take text through the same `Option`, and a call from Python has its values
checked by it, so that all have the same types and bounds.
"""

import dataclasses
import difflib
import math
import os
import re
import types
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from sharding.errors import UsageError
from sharding.hiding import without_login
from sharding.limits import MAX_URL_CHARS
from sharding.plain import FLOAT, INTEGER, copy_mapping

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HALF_URL = re.compile(r"(s3|gs|az|https?|file)(:/(?!/)|//)")  # what pathlib, or a slip, makes of a URL


def option(default: Any, help: str, **extra: Any) -> Any:
    """Declare an optional field, shown as `--name` with its default.

    Args:
        default: Its value if it is not given.
        help: What it does, in one line.
        **extra: Any of metavar; shown (the default in help); least, most, above, below (bounds of a number; the last
            two are exclusive); repeated (True for a list that has one element each time the option is given); empty
            (True if text may be blank); pattern and expected (a regular expression that text must match, and what that
            is in words); parse (a function from text to the value, raising ValueError); path ("local" for one that may
            not be a URL, "any" for a local path or URL, `~` is expanded in both); executed (True for a command, which
            is not taken from a file).
    """
    return dataclasses.field(default=default, metadata={"help": help, **extra})


def required(help: str, **extra: Any) -> Any:
    """Declare a field that must be given as `--name VALUE`; `extra` as for `option`."""
    return dataclasses.field(metadata={"help": help, **extra})


def argument(help: str, default: Any = dataclasses.MISSING, **extra: Any) -> Any:
    """Declare a positional field, which must be given unless it has a default; `extra` as for `option`."""
    return dataclasses.field(default=default, metadata={"help": help, "positional": True, **extra})


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: its names, and which values it takes.

    Attributes:
        name: Name of the field.
        kind: bool, int, float or str; dict for a mapping of names to plain values.
        words: Text that is a value beside those of `kind`, such as "auto" beside numbers.
        many: Whether the value is a tuple of them, of at least one.
        nullable: Whether None is a value: not given.
        choices: The only values, if there are such.
        default: Default; `dataclasses.MISSING` if it must be given.
        extra: What the declaration said besides: help, metavar, positional, bounds, ...
    """

    name: str
    kind: type
    words: tuple[str, ...]
    many: bool
    nullable: bool
    choices: tuple[str, ...]
    default: Any
    extra: "types.MappingProxyType[str, Any]"

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is dataclasses.MISSING

    @property
    def is_positional(self) -> bool:
        """Whether it is a word without `--`."""
        return bool(self.extra.get("positional"))

    @property
    def is_mapping(self) -> bool:
        """Whether its value is a mapping, which a file has and a command line has not."""
        return self.kind is dict

    @property
    def flag(self) -> str:
        """Return its name on the command line, such as `--batch-size`; of a positional one what help shows.

        That of a mapping is its name in the file.
        """
        if self.is_positional:
            return str(self.extra.get("metavar", self.name))
        if self.is_mapping:
            return self.name
        return "--" + self.name.replace("_", "-")

    def read(self, text: str) -> Any:
        """Convert text, a word of the command line or a scalar of a file, to a value, or to one element of a tuple.

        Raises:
            ValueError: It is none; the message is "expected ..., found ...".
        """
        if text in self.words:
            return text
        if parse := self.extra.get("parse"):
            return self.check_one(parse(text))
        if self.kind is int and INTEGER.fullmatch(text):
            return self.check_one(_to_int(text))
        if self.kind is float:
            return self.check_one(_to_float(text, self.expected))
        if self.kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if self.kind is not str:
            raise ValueError(f"expected {self.expected}, found {text!r}")
        return self.check_one(text)

    def check(self, value: Any) -> Any:
        """Check a value that is typed already, as one from Python is; return it with `~` expanded.

        Raises:
            ValueError: It is none; the message is "expected ..., found ...".
        """
        if (value is None and self.nullable) or (value == self.default and type(value) is type(self.default)):
            return value
        if not self.many:
            return self.check_one(value)
        if not isinstance(value, tuple | list) or not value:
            raise ValueError(f"expected at least one {self.flag}, found {value!r}")
        return tuple(self.check_one(one) for one in value)

    def check_one(self, value: Any) -> Any:
        """Check one element; see `check`."""
        if self.is_mapping:
            return copy_mapping(value)
        if isinstance(value, str) and value in self.words:
            return value
        if "path" in self.extra and isinstance(value, os.PathLike):
            value = os.fspath(value)
        takes = (int, float) if self.kind is float else self.kind
        if not isinstance(value, takes) or (isinstance(value, bool) and self.kind is not bool):
            raise ValueError(f"expected {self.expected}, found {value!r}")
        if isinstance(value, str):
            return self._check_text(value)
        if isinstance(value, int | float) and not self._is_within(value):
            raise ValueError(f"expected {self.expected}, found {value}")
        return value

    @property
    def expected(self) -> str:
        """Say in words which values it takes."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if "expected" in self.extra:
            return str(self.extra["expected"])
        bounds = [f"{word} {self.extra[name]}" for name, word in _BOUNDS.items() if name in self.extra]
        kind = " ".join([_KINDS[self.kind], *([" and ".join(bounds)] if bounds else [])])
        return " or ".join([*self.words, kind])

    def _is_within(self, value: float) -> bool:
        least, most = self.extra.get("least", -math.inf), self.extra.get("most", math.inf)
        if isinstance(value, int) and abs(value) >= 2**63:  # no library takes more
            return False
        above, below = self.extra.get("above", -math.inf), self.extra.get("below", math.inf)
        return math.isfinite(value) and least <= value <= most and above < value < below

    def _check_text(self, text: str) -> str:
        if self.choices and text not in self.choices:
            raise ValueError(f"expected {self.expected}, found {text!r}")
        refused = (
            ("Cs", "Cc") if "path" in self.extra else ("Cs",)
        )  # halves of characters: not UTF-8; control characters
        if "\0" in text or any(unicodedata.category(letter) in refused for letter in text):
            raise ValueError(f"expected {self.expected} in UTF-8 without control characters, found {text!r}")
        if not text.strip() and not self.extra.get("empty"):
            raise ValueError(f"expected {self.expected}, found nothing")
        if "pattern" in self.extra and not re.fullmatch(self.extra["pattern"], text):
            raise ValueError(f"expected {self.expected}, found {text!r}")
        return _check_path(text, self.extra["path"]) if "path" in self.extra else text


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a mapping of names to values",
}
_BOUNDS = {"least": "of at least", "above": "above", "most": "of at most", "below": "below"}


def options_of(config: type) -> list[Option]:
    """List the options of a dataclass in the order of its fields."""
    hints = get_type_hints(config)
    return [_option(field, hints[field.name]) for field in dataclasses.fields(config)]


def checked(config: Any) -> Any:
    """Check all values of a dataclass of options, whoever made it; return it with `~` expanded in paths.

    Raises:
        UsageError: A value is wrong.
    """
    values = {}
    for one in options_of(type(config)):
        try:
            values[one.name] = one.check(getattr(config, one.name))
        except ValueError as error:
            raise UsageError(f"{one.flag}: {error}") from error
    return dataclasses.replace(config, **values)


def parse_bytes(text: str) -> int:
    """Read a size such as `256MB`, `1.5GB` or `4096` (powers of 1000), in bytes.

    Raises:
        ValueError: It is not a positive size.
    """
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?B|)", text.strip(), re.IGNORECASE)
    size = float(found[1]) * units[found[2].upper()] if found and len(text) < 32 else 0.0
    if size <= 0 or not size.is_integer():
        raise ValueError(f"expected a size such as 256MB, 1.5GB or 4096, found {text!r}")
    return int(size)


def suggest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Return "; did you mean ...?" with the closest known name, else all names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"


def _option(field: "dataclasses.Field[Any]", hint: Any) -> Option:
    union = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    nullable = type(None) in union
    kinds = [one for one in union if one is not type(None)]
    many = any(get_origin(one) is tuple for one in kinds)
    kinds = [get_args(one)[0] if get_origin(one) is tuple else one for one in kinds]
    literals = tuple(word for one in kinds if get_origin(one) is Literal for word in get_args(one))
    hint = next((one for one in kinds if get_origin(one) is not Literal), str)
    only = len(kinds) == 1  # literals alone are all the values there are
    return Option(
        name=field.name,
        kind=get_origin(hint) or hint,
        words=() if only else literals,
        many=many,
        nullable=nullable,
        choices=literals if only else (),
        default=field.default,
        extra=types.MappingProxyType(dict(field.metadata)),
    )


def _to_int(text: str) -> int:
    if len(text.lstrip("+-0")) > 19:  # more than 64 bits, which no library takes
        raise ValueError(f"expected a whole number of 64 bits, found {text!r}")
    return int(text)


def _to_float(text: str, expected: str) -> float:
    if not FLOAT.fullmatch(text):
        raise ValueError(f"expected {expected}, found {text!r}")
    return float(text)


def _check_path(text: str, kind: str) -> str:
    if kind == "local" and _URL.match(text):
        raise ValueError(
            f"expected a path on this machine, found the URL {without_login(text)}; only sets and archives may be "
            "behind URLs: give a local path, and copy before or afterwards"
        )
    if _HALF_URL.match(text):
        found = without_login(text)
        raise ValueError(f"expected a path or a URL with //, found {found!r}; write ./{found} for such a folder here")
    if _URL.match(text):
        if len(text) > MAX_URL_CHARS:
            raise ValueError(f"expected an address of at most {MAX_URL_CHARS} characters, found {len(text)}")
        try:
            urlsplit(text)
        except ValueError as error:
            # Neither the text nor that of the error, which repeats a part: there may be a password in them.
            raise ValueError(f"expected a URL, found {without_login(text)}, whose host cannot be one") from error
    if not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded == text:
        raise ValueError(f"expected a path, found {text!r}, and no such home folder; write ./{text} for that name here")
    return expanded
