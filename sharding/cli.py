"""Commands: their names, their options, and their exit status.

A command's runner is imported only when it is run, so that `--help` answers at once.
"""

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharding.errors import DataError, Interrupted, UsageError
from sharding.machine.heap import keep_freed_memory
from sharding.options import add_options, build_config
from sharding.progress import is_rank_zero

EXIT_DATA, EXIT_USAGE, EXIT_SIGNAL, EXIT_INTERRUPTED = 1, 2, 128, 130


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        data: What `--json` prints.
        text: What is printed without it.
        ok: Whether the data is valid; if not, the exit status is 1.
    """

    data: dict[str, Any]
    text: str
    ok: bool = True


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the program.

    Attributes:
        name: One word, or two for a command within a group ("shard diode").
        config: Frozen dataclass whose fields are the options.
        runner: "module:function", of `config -> Outcome`.
        help: What it does, in one line.
        examples: Lines shown at the end of `--help`.
    """

    name: str
    config: type
    runner: str
    help: str
    examples: tuple[str, ...] = field(default=())

    def run(self, config: Any) -> Outcome:
        """Import the runner and run it.

        Raises:
            UsageError: A library it needs is not installed.
        """
        module, function = self.runner.split(":")
        try:
            run: Callable[[Any], Outcome] = getattr(importlib.import_module(module), function)
            return run(config)  # it may import more
        except ModuleNotFoundError as error:
            raise UsageError(f"needs {error.name}, which is not installed: pip install 'depthstream[train]'") from error


def build_parser(program: str, description: str, commands: Sequence[Command]) -> argparse.ArgumentParser:
    """Build the parser of all `commands`; the parsed arguments contain the chosen one as `command`."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    groups = {"": parser.add_subparsers(required=True, metavar="COMMAND")}
    for command in commands:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            inside = groups[""].add_parser(group, help=f"{group} a data set: see `{program} {group} --help`")
            groups[group] = inside.add_subparsers(required=True, metavar="DATASET")
        examples = "examples:\n" + "\n".join(f"  {program} {line}" for line in command.examples)
        inner = groups[group].add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(inner, command.config)
        inner.add_argument(
            "--json", action="store_true", help="print one JSON object on stdout; progress stays on stderr"
        )
        inner.set_defaults(command=command)
    return parser


def main(program: str, description: str, commands: Sequence[Command], argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names and return its exit status.

    It is 0, 1 (data), 2 (usage), 130 (Ctrl-C), or 128 plus the number of a signal that stopped it: 143 for SIGTERM.
    """
    given = build_parser(program, description, commands).parse_args(argv)
    command: Command = given.command
    keep_freed_memory()
    try:
        outcome = command.run(build_config(command.config, given))
    except UsageError as error:
        return _fail(program, command, error, EXIT_USAGE)
    except DataError as error:
        return _fail(program, command, error, EXIT_DATA)
    except Interrupted as error:
        return _fail(program, command, error, EXIT_SIGNAL + error.signal_number)
    except KeyboardInterrupt:
        sys.stderr.write(f"{program} {command.name}: interrupted; run it again\n")
        return EXIT_INTERRUPTED
    if is_rank_zero():  # a launcher runs the command once per rank
        sys.stdout.write((json.dumps(outcome.data, default=_plain) if given.json else outcome.text) + "\n")
    return 0 if outcome.ok else EXIT_DATA


def _fail(program: str, command: Command, error: Exception, status: int) -> int:
    sys.stderr.write(f"{program} {command.name}: {error}\n")
    return status


def _plain(value: Any) -> Any:
    """Convert what `json` cannot write (numpy numbers, paths, dataclasses) to what it can."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.item() if hasattr(value, "item") else str(value)
