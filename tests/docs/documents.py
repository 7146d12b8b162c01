"""Commands in the bash blocks of documents, as the program reads them."""

import re
import shlex
from pathlib import Path
from typing import Any

from sharding.cli import Command, build_parser
from sharding.commands import COMMANDS as SHARDING
from sharding.parser import build_config, words_first
from training.commands import COMMANDS as TRAINING

ROOT = Path(__file__).parents[2]

Words = tuple[str, ...]


def read_commands(text: str) -> list[Words]:
    """Return the words of each `depthstream` command in the bash blocks of a document."""
    return [words for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for words in read_script(block)]


def read_script(script: str) -> list[Words]:
    """Return the words of each `depthstream` command of a script; a variable of a loop has its first value."""
    values, found = dict(re.findall(r"\bfor (\w+) in ([^\s;]+)", script)), []
    for line in script.replace("\\\n", " ").splitlines():
        if called := re.match(r"\s*depthstream (.*)", line):
            words = re.sub(r"\$\{?(\w+)\}?", lambda name: values[name[1]], called[1])
            found.append(tuple(shlex.split(words, comments=True)))
    return found


def parse(words: Words) -> Any:
    """Return the options of a command. Files of options are those of the repository, if it is the current folder.

    Raises:
        UsageError: It is no command, or one of its words is wrong.
    """
    (command,) = (one for one in (*SHARDING, *TRAINING) if words[: len(_name(one))] == _name(one))
    rest = words_first(words[len(_name(command)) :], command.config)
    given = build_parser("depthstream", "", [command]).parse_args([*_name(command), *rest])
    return build_config(command.config, given)


def _name(command: Command) -> Words:
    return tuple(command.name.split())
