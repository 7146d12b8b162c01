"""The parser of a command line: the options of each command, in one line what is wrong with them, help, completion."""

import argparse
import dataclasses
import re
import textwrap
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from sharding.errors import UsageError
from sharding.option_file import read_file
from sharding.options import Option, checked, options_of, suggest

C = TypeVar("C")

_COLUMNS = 80  # of a terminal
_CHOICE = re.compile(r"argument [A-Z]+: invalid choice: '?(.*?)'? \(choose from (.*)\)")


class WrongArguments(UsageError):
    """A command line that cannot be parsed, with the program or command it is about.

    Args:
        program: Such as "depthstream finetune".
        text: What is wrong, in one line.
    """

    def __init__(self, program: str, text: str) -> None:
        super().__init__(text)
        self.program = program


class CommandParser(argparse.ArgumentParser):
    """A parser that raises `WrongArguments` where argparse prints its usage and exits, and takes no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, in the words of this project.

        Raises:
            WrongArguments: Always.
        """
        if found := _CHOICE.match(message):
            names = re.findall(r"[\w-]+", found[2])
            message = f"no command named {found[1]}{suggest(found[1], names)}"
        message = message.removeprefix("argument ").replace("the following arguments are required", "missing")
        raise WrongArguments(self.prog, f"{message}; see {self.prog} --help")

    def add_options(self, config: type) -> None:
        """Add an argument for each field of the dataclass `config`, and those that every command has."""
        options = options_of(config)
        bases = [base for base in config.__mro__[1:] if dataclasses.is_dataclass(base)]
        inherited = {field.name for base in bases for field in dataclasses.fields(base)}
        words = [one for one in options if one.is_positional]  # in order: it is that of the words on the command line
        needed = [one for one in options if one.is_required and not one.is_positional]
        mappings = [one for one in options if one.is_mapping]
        # A dataclass lists inherited fields first, a reader looks for what is special to the command first.
        rest = [one for one in options if not one.is_required and not one.is_positional and not one.is_mapping]
        rest.sort(key=lambda one: one.name in inherited)
        usage = " ".join([self.prog, *map(_usage, [*words, *needed]), "[OPTION ...]"])
        self.usage = textwrap.fill(usage, _COLUMNS - len("usage: "), subsequent_indent="    ").replace("%", "%%")
        first, second = self.add_argument_group("required"), self.add_argument_group("options")
        must, may = ([one for one in words if one.is_required is wanted] for wanted in (True, False))
        for group, members in ((first, [*must, *needed]), (second, [*may, *rest])):
            for one in members:
                _add(group, one)
        second.add_argument("--config", metavar="FILE.yaml", help="options from a file; those on the command line win")
        second.add_argument(
            "--json", action="store_true", help="print one JSON object on stdout; progress stays on stderr"
        )
        second.add_argument("--quiet", action="store_true", help="show no progress: errors and the result alone")
        second.add_argument("-h", "--help", action="help", help="show this help message and exit")
        if mappings:
            self.add_argument_group("mappings, which FILE.yaml alone can have", _describe(mappings))


def build_config(config: type[C], given: argparse.Namespace) -> C:
    """Make the dataclass: parsed arguments override the YAML file, which overrides the defaults.

    Raises:
        UsageError: The file has an unknown name or a wrong value, or a required option is missing.
    """
    options, named = options_of(config), vars(given)
    values = read_file(named["config"], options) if named.get("config") is not None else {}
    for one in options:  # a file may come from somebody else, with a run folder for example
        if one.extra.get("executed") and values.get(one.name) is not None and one.name not in named:
            raise UsageError(
                f"--config {named['config']}: {one.name} is a command, which is run: it is not taken from a file; give "
                f"{one.flag} on the command line"
            )
    values |= {one.name: named[one.name] for one in options if one.name in named}
    if missing := [one.flag for one in options if one.is_required and one.name not in values]:
        raise UsageError("missing: " + ", ".join(missing))
    made: C = checked(
        config(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    )
    return made


def _add(parser: "argparse._ActionsContainer", one: Option) -> None:
    settings: dict[str, Any] = {"help": str(one.extra["help"]), "default": argparse.SUPPRESS}
    if "metavar" in one.extra:
        settings["metavar"] = one.extra["metavar"]
    if one.kind is bool:
        settings["action"] = argparse.BooleanOptionalAction  # --no-NAME overrides a file given by --config
    else:
        settings |= {"type": _reader(one)} | ({"choices": one.choices} if one.choices else {})
        settings |= ({"action": "append"} if "repeated" in one.extra else {"nargs": "+"}) if one.many else {}
        # Not required by argparse: a file given by --config may have it; build_config checks.
        settings |= {"nargs": "*" if one.many else "?"} if one.is_positional else {}
        if one.default not in (dataclasses.MISSING, None, "", ()):
            settings["help"] += f" (default: {one.extra.get('shown', one.default)})"
    action = parser.add_argument(
        *([one.name] if one.is_positional else ["--" + one.name.replace("_", "-")]), **settings
    )
    action.dest = one.name
    if "path" in one.extra:
        action.complete = _FILES  # type: ignore[attr-defined]  # read by shtab
    if any(":" in choice for choice in one.choices):  # ends a list in zsh, unless escaped, and a word in bash
        listed = " ".join(one.choices).replace(":", r"\:")
        action.complete = {"zsh": f"({listed})"}  # type: ignore[attr-defined]


def _describe(mappings: Sequence[Option]) -> str:
    """List mappings as argparse lists options."""
    indent = " " * 22  # as argparse has it, within a group
    lines = []
    for one in mappings:
        name = f"{one.name:<21} " if len(one.name) < 21 else f"{one.name}\n{indent}"
        lines.append(name + textwrap.fill(str(one.extra["help"]), 54).replace("\n", f"\n{indent}"))
    return "\n".join(lines)


def _usage(one: Option) -> str:
    value = str(one.extra.get("metavar") or "|".join(one.choices) or one.name.upper())
    more = f"[{value} ...]" if one.many else ""
    if one.is_positional:
        return " ".join(filter(None, [value if one.is_required else "", more]))
    return f"{one.flag} {value}"


def _reader(one: Option) -> Callable[[str], Any]:
    """Return `one.read` with errors whose message argparse keeps."""

    def read(text: str) -> Any:
        try:
            return one.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # shtab's words for a file


class Answer(Exception):
    """What the program prints instead of running a command.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Print(argparse.Action):
    """An option that raises `Answer`.

    Args:
        make: Makes the text from the parser and the value of the option.
    """

    def __init__(self, *, make: Callable[[argparse.ArgumentParser, Any], str], **settings: Any) -> None:
        super().__init__(**settings)
        self._make = make

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        raise Answer(self._make(parser, values))


def add_program_options(parser: argparse.ArgumentParser, version: Callable[[], str]) -> None:
    """Add `--version` and `--completion SHELL` to a program."""
    parser.add_argument(
        "--version",
        action=_Print,
        nargs=0,
        make=lambda parser, _: f"{parser.prog} {version()}",
        help="show the version, and exit",
    )
    parser.add_argument(
        "--completion",
        action=_Print,
        make=_complete,
        choices=("bash", "zsh", "tcsh"),
        help="print what lets a shell complete commands and options, and exit; see docs/command-line.md",
    )


def _complete(parser: argparse.ArgumentParser, shell: str) -> str:
    import shtab

    return str(shtab.complete(parser, shell))


def fold(line: str) -> str:
    """Break a command line before column 80, as a shell reads it: with a backslash, between words."""
    lines, indent = [""], line[: len(line) - len(line.lstrip())]
    for word in re.findall(r"(?:\"[^\"]*\"|\S)+", line):
        joined = f"{lines[-1]} {word}" if lines[-1] else indent + word
        if len(joined) > _COLUMNS - len(" \\"):
            lines[-1] += " \\"
            joined = f"{indent}    {word}"
            lines.append("")
        lines[-1] = joined
    return "\n".join(lines)


def words_first(arguments: Sequence[str], config: type) -> list[str]:
    """Move the words of a command before its options, where argparse finds them, whatever their order was.

    argparse gives up on a positional that may be missing at the first option after the one before it.

    Args:
        arguments: Those after the name of the command.
        config: Options of the command.
    """
    options = {one.flag: one for one in options_of(config) if not one.is_positional}
    switches = {"--json", "--quiet", "-h", "--help"} | {f"--no-{flag[2:]}" for flag in options}
    words: list[str] = []
    rest: list[str] = []
    left = deque(arguments)
    while left:
        word = left.popleft()
        if word == "--":
            return [*words, *rest, word, *left]
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        rest.append(word)
        one = options.get(word)
        if left and ((one is not None and one.kind is not bool) or word == "--config"):
            rest.append(left.popleft())  # its value, also if it begins with a minus
        elif left and one is None and word not in switches and "=" not in word and not left[0].startswith("-"):
            rest.append(left.popleft())  # of an option that there is not
        while one is not None and one.many and "repeated" not in one.extra and left and not left[0].startswith("-"):
            rest.append(left.popleft())
    return [*words, *rest]


def explain_unknown(unknown: Sequence[str], config: type) -> str:
    """Say which words of a command line it has no option or place for, with the closest option."""
    named = [one for one in options_of(config) if not one.is_positional]
    flags = [one.flag for one in named] + ["--no-" + one.flag[2:] for one in named if one.kind is bool]
    flags += ["--config", "--json", "--quiet", "--help"]
    first = unknown[0].partition("=")[0]
    if first.startswith("--") and (name := first[2:].replace("-", "_")) in {
        one.name for one in named if one.is_mapping
    }:
        return f"{first} is a mapping, which a command line cannot have: write {name} into a file, --config FILE.yaml"
    if first in flags:
        return f"{first} belongs after the name of the command, and before --"
    if first.startswith("--"):
        close = suggest(first, flags)
        return f"no option {first}" + (close if "did you mean" in close else "")
    return f"no place for {' '.join(unknown)}"
