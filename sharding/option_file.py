"""Options from a YAML file (`--config FILE.yaml`): a mapping of option names to scalars, flat lists, or mappings.

A scalar is read as the same word on the command line would be, so `1e-4` is a number and `2024-01-01` a name. What
YAML adds is refused where it would surprise: aliases, tags, nested values, a name given twice, quoted booleans.
In an option that is a mapping, values are nested and have no declared type: what is quoted is text, `true`, `false`,
`null` and decimal numbers are what they look like, and a word that YAML 1.1 takes for another value (`yes`, `0x10`)
is refused.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.errors import UsageError
from sharding.escaping import shorten
from sharding.options import Option, suggest
from sharding.plain import MAX_DEPTH, copy_mapping, read_plain

if TYPE_CHECKING:
    from yaml import Event, MappingNode, Node, ScalarNode

_MAX_BYTES = 10**6  # of a file of options; a larger file is something else
_MAX_DEPTH = MAX_DEPTH + 4  # of events: a stream, a document, a mapping, its values, and one for a good message
_TAG = "tag:yaml.org,2002:"
_TRUE = ("yes", "true", "on")  # of the booleans of YAML 1.1
_KINDS = {"MappingNode": "a mapping", "SequenceNode": "a list"}


def read_file(path: str, options: Sequence[Option]) -> dict[str, Any]:
    """Read the options in a file.

    Args:
        path: The file.
        options: Those of the command.

    Returns:
        Field name -> checked value, for those that the file has.

    Raises:
        UsageError: The file cannot be read, or has an unknown name or a wrong value; the message names the line.
    """
    named = {one.name: one for one in options}
    values: dict[str, Any] = {}
    for name, node in _entries(path, _compose(path)):
        where = f"--config {path}, line {node.start_mark.line + 1}"
        if name not in named:
            raise UsageError(f"{where}: no option named {name}{suggest(name, named)}")
        if name in values:
            raise UsageError(f"{where}: {name} is given twice")
        try:
            values[name] = _value(named[name], node)
        except ValueError as error:
            raise UsageError(f"{where}: {name}: {error}") from error
    return values


def _compose(path: str) -> "Node | None":
    """Parse the file to its nodes, which are not converted yet.

    Raises:
        UsageError: It cannot be read, or is no YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is six times as fast
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UsageError(f"--config {path}: expected a file of options, found more than {_MAX_BYTES} bytes")
        text = content.decode()
        _check_flat(path, yaml.parse(text, Loader=loader))
        return yaml.compose(text, Loader=loader)
    except (OSError, RuntimeError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UsageError(f"--config {path}: expected a readable YAML file: {reason}") from error


def _check_flat(path: str, events: "Iterator[Event]") -> None:
    """Refuse aliases, tags and deep nesting before nodes are made of them: they may stand for a file of any size.

    Raises:
        UsageError: There is one.
    """
    depth = 0
    for event in events:
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if name == "AliasEvent":
            reason = "aliases are not read: write the value out"
        elif getattr(event, "tag", None) is not None:
            reason = f"tags are not read, found {shorten(event.tag, 80)}: write the value alone"  # type: ignore[attr-defined]
        elif depth > _MAX_DEPTH:
            reason = "nested too deeply"
        else:
            continue
        line = event.start_mark.line + 1 if event.start_mark else 0
        raise UsageError(f"--config {path}, line {line}: {reason}")


def _entries(path: str, root: "Node | None") -> "Iterator[tuple[str, Node]]":
    """Yield field names and value nodes of the mapping."""
    if root is None:  # an empty file
        return
    if type(root).__name__ != "MappingNode":
        found = _KINDS.get(type(root).__name__, "text")
        raise UsageError(f"--config {path}: expected a mapping of option names to values, found {found}")
    mapping: MappingNode = root  # type: ignore[assignment]  # yaml is imported only where a file is read
    for key, value in mapping.value:
        if type(key).__name__ != "ScalarNode":
            raise UsageError(f"--config {path}, line {key.start_mark.line + 1}: expected the name of an option")
        yield str(key.value).replace("-", "_"), value


def _value(option: Option, node: "Node") -> Any:
    """Convert the node of an option.

    Raises:
        ValueError: It is no such value.
    """
    if option.is_mapping and type(node).__name__ == "MappingNode":
        return copy_mapping(_plain(node))
    if type(node).__name__ == "ScalarNode":
        if node.tag == _TAG + "null" and option.nullable:
            return None
        one = _scalar(option, node)  # type: ignore[arg-type]
        return (one,) if option.many else one
    if type(node).__name__ == "SequenceNode" and option.many:
        return option.check([_scalar(option, inner) for inner in node.value])
    raise ValueError(f"expected {option.expected}, found {_KINDS[type(node).__name__]}")


def _scalar(option: Option, node: "ScalarNode") -> Any:
    kind = node.tag.removeprefix(_TAG)
    if type(node).__name__ != "ScalarNode":
        raise ValueError(f"expected {option.expected}, found {_KINDS.get(type(node).__name__, node.tag)}")
    if kind == "null":
        raise ValueError(f"expected {option.expected}, found null")
    if option.kind is bool:
        if kind != "bool":
            raise ValueError(f"expected true or false, without quotes, found {node.value!r}")
        return node.value.lower() in _TRUE
    if kind == "bool" and node.value.lower() in ("true", "false"):
        raise ValueError(f"expected {option.expected}, found {node.value}" + ("; quote it" * (option.kind is str)))
    return option.read(str(node.value))


def _plain(node: Any) -> Any:
    """Convert a node inside a mapping to a plain value.

    Raises:
        ValueError: A name is no text or is given twice, or a word is a surprise.
    """
    if type(node).__name__ == "SequenceNode":
        return [_plain(one) for one in node.value]
    if type(node).__name__ == "ScalarNode":
        return _plain_scalar(node)
    found: dict[str, Any] = {}
    for key, value in node.value:
        if type(key).__name__ != "ScalarNode" or key.tag != _TAG + "str":
            raise ValueError(f"line {key.start_mark.line + 1}: expected a name as text; quote it if it looks like more")
        if key.value in found:
            raise ValueError(f"line {key.start_mark.line + 1}: {key.value} is given twice")
        found[key.value] = _plain(value)
    return found


def _plain_scalar(node: "ScalarNode") -> Any:
    if node.style:  # quoted, or a block of text
        return node.value
    value, kind = read_plain(node.value), node.tag.removeprefix(_TAG)
    if isinstance(value, str) and kind in ("bool", "int", "float", "null", "merge"):
        line = node.start_mark.line + 1
        raise ValueError(
            f"line {line}: {node.value} is read in more than one way: write a plain number, true or false, or quote it"
        )
    return value
