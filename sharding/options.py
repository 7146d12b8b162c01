"""Command-line and YAML options from a frozen dataclass, whose fields are the only list of options.

Field `batch_size: int = option(32, "samples of a step")` becomes `--batch-size 32`. A field made by
`argument(...)` is positional.
"""

import argparse
import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sharding.errors import UsageError

C = TypeVar("C")


def option(default: Any, help: str, **extra: Any) -> Any:
    """Declare an optional field: shown as `--name`, with its default."""
    return dataclasses.field(default=default, metadata={"help": help, **extra})


def required(help: str, **extra: Any) -> Any:
    """Declare a field that must be given as `--name VALUE`."""
    return dataclasses.field(metadata={"help": help, **extra})


def argument(help: str, **extra: Any) -> Any:
    """Declare a positional field."""
    return dataclasses.field(metadata={"help": help, "positional": True, **extra})


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """Add an argument for each field of the dataclass `config`, and `--config FILE.yaml`."""
    hints = get_type_hints(config)
    bases = [base for base in config.__mro__[1:] if dataclasses.is_dataclass(base)]
    inherited = {field.name for base in bases for field in dataclasses.fields(base)}
    # A dataclass lists inherited fields first, a reader looks for what is special to the command first. Positional
    # fields keep their order: it is that of the words on the command line.
    options = [field for field in dataclasses.fields(config) if not field.metadata.get("positional")]
    positional = [field for field in dataclasses.fields(config) if field.metadata.get("positional")]
    for field in positional + sorted(options, key=lambda field: field.name in inherited):
        _add(parser, field, hints[field.name])
    parser.add_argument("--config", metavar="FILE.yaml", help="options from a file; those on the command line win")


def _add(parser: argparse.ArgumentParser, field: "dataclasses.Field[Any]", hint: Any) -> None:
    kind, many, choices = _kind(hint)
    settings: dict[str, Any] = {"help": field.metadata["help"], "default": argparse.SUPPRESS}
    if "metavar" in field.metadata:
        settings["metavar"] = field.metadata["metavar"]
    if kind is bool:
        settings["action"] = argparse.BooleanOptionalAction  # --no-NAME overrides a file given by --config
    else:
        settings |= {"type": field.metadata.get("parse", kind)} | ({"choices": choices} if choices else {})
        settings |= {"nargs": "+"} if many else {}
        # Not required by argparse: a file given by --config may have it; build_config checks.
        settings |= {"nargs": "*" if many else "?"} if field.metadata.get("positional") else {}
        if field.default not in (dataclasses.MISSING, None, ""):
            settings["help"] += f" (default: {field.metadata.get('shown', field.default)})"
    if field.metadata.get("positional"):
        parser.add_argument(field.name, **settings)
    else:
        parser.add_argument("--" + field.name.replace("_", "-"), dest=field.name, **settings)


def _kind(hint: Any) -> tuple[Any, bool, tuple[Any, ...] | None]:
    """Return the element type, whether the field is a tuple of them, and the choices of a Literal."""
    if get_origin(hint) in (Union, types.UnionType):
        # `X | None`: None means that the option was not given, so its type is X.
        hint = next(inner for inner in get_args(hint) if inner is not type(None))
    if get_origin(hint) is tuple:
        return _kind(get_args(hint)[0])[0], True, None
    if get_origin(hint) is Literal:
        return str, False, get_args(hint)
    return hint, False, None


def build_config(config: type[C], given: argparse.Namespace) -> C:
    """Make the dataclass: parsed arguments override the YAML file, which overrides the defaults.

    Raises:
        UsageError: The file has an unknown name or a wrong value, or a required option is missing.
    """
    named = vars(given)
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    values = _from_file(named["config"], config) if named.get("config") else {}
    values |= {name: value for name, value in named.items() if name in fields}
    if missing := [
        name for name, field in fields.items() if name not in values and field.default is dataclasses.MISSING
    ]:
        raise UsageError("missing: " + ", ".join(_shown(fields[name]) for name in missing))
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _shown(field: "dataclasses.Field[Any]") -> str:
    """Return the name of a field on the command line."""
    if field.metadata.get("positional"):
        return str(field.metadata.get("metavar", field.name))
    return "--" + field.name.replace("_", "-")


def _from_file(path: str, config: type) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"--config {path}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(
            f"--config {path}: expected a mapping of option names to values, found {type(content).__name__}"
        )
    values = {str(name).replace("-", "_"): value for name, value in content.items()}
    hints = get_type_hints(config)
    if unknown := sorted(set(values) - set(hints)):
        raise UsageError(f"--config {path}: no option named {', '.join(unknown)}; there are {', '.join(sorted(hints))}")
    parsers = {field.name: field.metadata.get("parse") for field in dataclasses.fields(config)}
    return {name: _checked(path, name, value, hints[name], parsers[name]) for name, value in values.items()}


def _checked(path: str, name: str, value: Any, hint: Any, parse: Callable[[str], Any] | None) -> Any:
    """Convert a value of the file as the command line would."""
    kind, many, choices = _kind(hint)
    if value is None or many or kind is bool:
        return value
    try:
        value = parse(str(value)) if parse else kind(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--config {path}: {name}: expected {kind.__name__}, found {value!r}") from error
    if choices and value not in choices:
        raise UsageError(f"--config {path}: {name}: expected one of {', '.join(choices)}, found {value!r}")
    return value


def parse_bytes(text: str) -> int:
    """Read a size such as `256MB`, `1.5GB` or `4096` (powers of 1000), in bytes.

    Raises:
        ValueError: It is not a positive size.
    """
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1, "": 1}
    number = text.strip().rstrip("KMGTBkmgtb")
    unit = text.strip()[len(number) :].upper()
    size = int(float(number) * units[unit]) if unit in units else 0
    if size <= 0:
        raise ValueError(f"{text!r} is not a size; write 256MB, 1.5GB or 4096")
    return size
