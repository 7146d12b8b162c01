"""Commands: their names, their options, and their exit status.

A command's runner is imported only when it is run, so that `--help` answers at once. Before that its check finds what
is wrong with the options, as far as that can be found without heavy libraries.
"""

import argparse
import contextlib
import dataclasses
import errno
import importlib
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from sharding.errors import DataError, Interrupted, UsageError
from sharding.escaping import escape, shorten
from sharding.hiding import hide
from sharding.limits import check_factor
from sharding.machine.heap import keep_freed_memory
from sharding.machine.openmp import spin_briefly
from sharding.machine.signals import number_of, raising_signals
from sharding.machine.user import ensure_user_name
from sharding.parser import (
    Answer,
    CommandParser,
    WrongArguments,
    add_program_options,
    build_config,
    explain_unknown,
    fold,
    words_first,
)
from sharding.progress import be_quiet, close_bars, forget_ranks, is_rank_zero

EXIT_DATA, EXIT_USAGE, EXIT_SIGNAL = 1, 2, 128

MAX_ERROR_CHARS = 2900
"""Characters of an error: a terminal has room for it, whatever names and values it repeats."""

PACKAGE = "depthstream"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        data: What `--json` prints.
        text: What is printed without it.
        ok: Whether the data is valid; if not, the exit status is 1.
        error: What went wrong although there is a result, told on stderr; if anything, the exit status is 1.
    """

    data: dict[str, Any]
    text: str
    ok: bool = True
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the program.

    Attributes:
        name: One word, or two for a command within a group ("shard diode").
        config: Frozen dataclass whose fields are the options.
        runner: "module:function", of `config -> Outcome`.
        help: What it does, in one line.
        examples: Lines shown at the end of `--help`.
        check: "module:function", of `config -> None`: raises UsageError for what is wrong, without heavy imports; "" if
            the values of the options are all there is to check.
        ranked: Whether a launcher may run it in several processes, of which rank 0 alone prints.
    """

    name: str
    config: type
    runner: str
    help: str
    examples: tuple[str, ...] = field(default=())
    check: str = ""
    ranked: bool = False

    def run(self, config: Any) -> Outcome:
        """Check the options, then import the runner and run it.

        Raises:
            UsageError: An option is wrong, or a library it needs is not installed.
        """
        try:
            if self.check:
                with _wrong_files():
                    _load(self.check)(config)
            outcome: Outcome = _load(self.runner)(config)  # it may import more
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("sharding", "training"):
                raise
            raise UsageError(
                f"needs {error.name}, which is not installed: in a clone of the repository run pip install '.[train]', "
                "or install 'depthstream[train]' from your wheels (docs/offline.md)"
            ) from error
        return outcome


def _load(name: str) -> Callable[[Any], Any]:
    module, function = name.split(":")
    loaded: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
    return loaded


@contextlib.contextmanager
def _wrong_files() -> Iterator[None]:
    """Turn an OSError about a named file into a UsageError: the path was given by the user."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise UsageError(f"{error.filename}: {error.strerror}") from error


def build_parser(program: str, description: str, commands: Sequence[Command]) -> CommandParser:
    """Build the parser of all `commands`; the parsed arguments contain the chosen one as `command`."""
    parser = CommandParser(prog=program, description=description)
    add_program_options(parser, lambda: version(PACKAGE))
    groups = {"": parser.add_subparsers(required=True, metavar="COMMAND")}
    for command in commands:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            inside = groups[""].add_parser(group, help=f"{group} a data set: see `{program} {group} --help`")
            groups[group] = inside.add_subparsers(required=True, metavar="DATASET")
        examples = "examples:\n" + "\n".join(fold(f"  {program} {line}") for line in command.examples)
        inner = groups[group].add_parser(
            name,
            help=command.help,
            description=textwrap.fill(command.help, 80),
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,  # `add_options` does
        )
        inner.add_options(command.config)
        inner.set_defaults(command=command)
    return parser


def main(program: str, description: str, commands: Sequence[Command], argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names and return its exit status.

    It is 0, 1 (data), 2 (usage), 130 (Ctrl-C), or 128 plus the number of a signal that stopped it: 143 for SIGTERM.
    With `--json` a failure prints {"error": its message, "status": its exit status}.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        given = _parse(build_parser(program, description, commands), _ordered(words, commands))
    except Answer as answer:
        raise SystemExit(_write(answer.text)) from None
    except WrongArguments as error:
        raise SystemExit(_fail(error.program, str(error), EXIT_USAGE, "--json" in words)) from None
    command: Command = given.command
    keep_freed_memory()
    ensure_user_name()
    spin_briefly()
    if not command.ranked:
        forget_ranks()
    was_quiet = be_quiet(given.quiet)
    status, text = 0, ""
    try:
        check_factor()
        _check_here()
        # A trainer handles SIGTERM itself: it saves a checkpoint first.
        with raising_signals(terminate=not command.ranked):
            outcome = command.run(build_config(command.config, given))
    except (UsageError, DataError, Interrupted) as error:
        status, text = _status(error), str(error)
    except KeyboardInterrupt as error:
        status, text = EXIT_SIGNAL + number_of(error), "interrupted; run it again"
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:  # unexpected: its traceback is needed
            raise
        status, text = EXIT_DATA, _explain(error)
    except MemoryError:
        status, text = EXIT_DATA, "out of memory; give less to do at once: fewer --workers, smaller batches"
    finally:
        be_quiet(was_quiet)
    if status:
        return _fail(f"{program} {command.name}", text, status, given.json)
    if is_rank_zero():  # a launcher runs the command once per rank
        text = _to_json(outcome.data) if given.json else escape(outcome.text, keep="\n\t")
        told = _fail(f"{program} {command.name}", outcome.error, EXIT_DATA, False) if outcome.error else 0
        return _write(text) or told or _ended(outcome)
    return _ended(outcome)


def _explain(error: OSError) -> str:
    """Say in one line what the system refused."""
    # Libraries put more than the reason into its text, such as addresses in memory.
    if error.errno in _NO_ROOM:
        return f"{error.filename or 'a file'}: {os.strerror(error.errno)}; make room, and run it again"
    return f"{error.filename}: {error.strerror}"


def _check_here() -> None:
    """Check that there is a current folder, from which paths are read.

    Raises:
        UsageError: It was removed.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(f"the current folder: {error.strerror}; change to another one, and run it again") from error


def _ordered(words: list[str], commands: Sequence[Command]) -> list[str]:
    """Return the words of the program with those of its command in the order that its parser needs."""
    for command in commands:
        name = command.name.split()
        if words[: len(name)] == name:
            return name + words_first(words[len(name) :], command.config)
    return words


def _parse(parser: CommandParser, words: Sequence[str]) -> argparse.Namespace:
    try:
        given, unknown = parser.parse_known_args(words)
    except SystemExit as ended:  # after --help
        raise SystemExit(_write("") or ended.code) from None
    if unknown:
        command: Command = given.command
        name = f"{parser.prog} {command.name}"
        raise WrongArguments(name, f"{explain_unknown(unknown, command.config)}; see {name} --help")
    return given


def _ended(outcome: Outcome) -> int:
    return 0 if outcome.ok and not outcome.error else EXIT_DATA


def _status(error: Exception) -> int:
    if isinstance(error, Interrupted):
        return EXIT_SIGNAL + error.signal_number
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_DATA


def _fail(name: str, text: str, status: int, as_json: bool) -> int:
    """Print why a command failed, without logins and secrets; return the status."""
    text = hide(text, os.environ)
    # Closed, full or detached: then only the status is left to tell it.
    with contextlib.suppress(OSError, AttributeError, ValueError):
        close_bars()
        sys.stderr.write(f"{name}: {shorten(escape(text), MAX_ERROR_CHARS)}\n")
        sys.stderr.flush()
    if as_json and is_rank_zero():
        _write(json.dumps({"error": text, "status": status}))
    return status


def _write(text: str) -> int:
    """Write a line to stdout, which may be closed, full, or a pipe that nothing reads any more; return the status."""
    if sys.stdout is None:
        return 0
    try:
        sys.stdout.write(text + "\n" if text else "")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        return _fail("stdout", str(error.strerror), EXIT_DATA, False)
    return 0


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that Python does not fail again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_json(data: dict[str, Any]) -> str:
    """Encode the result of a command; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(json.loads(json.dumps(data, default=_plain), parse_constant=lambda _: None))


def _plain(value: Any) -> Any:
    """Convert what `json` cannot write (numpy numbers, paths, dataclasses) to what it can."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.item() if hasattr(value, "item") else str(value)
